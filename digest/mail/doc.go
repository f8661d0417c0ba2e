// Package mail makes the mails of digests, and says how they are sent.
//
// A [Renderer] makes one mail of one [Digest]: a text and an HTML part from templates that sites can replace, escaped for
// wherever a value stands, in the recipient's language and time zone, with the fields that let people unsubscribe, programs
// sort and thread it, and no machine answer it, signed if there is a key. It does so more than ten thousand times a second on
// one processor, keeps nothing, and asks nobody.
//
// A [Sender] takes mails to where they are delivered from; packages beside this one have some.
package mail
