// Package letter sends the mails of invitations and of forgotten passwords.
//
// Whoever invites writes a row of projects.letter in the transaction that does it, so that there is a mail if and only if there is
// an invitation. A [Worker] claims such rows, one node each, makes the secret of the link in the transaction that claims, and
// sends the mail outside of any. No row ever holds a secret, and neither does the log.
//
// A mail goes out at least once: if a node dies between sending it and saying so, another one sends it again, with a link of its
// own.
package letter
