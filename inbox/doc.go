// Package inbox keeps notifications of users: what they have seen and read of them on every device, how they like to be told
// by mail, and counts that are always right.
package inbox
