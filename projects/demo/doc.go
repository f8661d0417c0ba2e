// Package demo has people and projects to try the application out with: Seed puts them into a database, and Simulate lets those
// work whom nobody is signed in as.
package demo
