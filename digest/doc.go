// Package digest mails what stayed unread: several notifications in one mail, and only to who didn't see them in time.
//
// The rules are pure: [Plan] is given what is known about one user and a moment, and says what is to be done, why, and when to
// look again. A [Worker] finds out who is to be looked at, does what Plan says, and sees to it that no mail is lost.
package digest
