// Package mail makes the mails of digests, and says how they are sent.
package mail
