// Package inbox keeps notifications of users: what they have seen and read of them on every device, how they like to be told
// by mail, and counts that are always right.
//
// # Notifying
//
// [NotifyTx] notifies users inside the transaction that causes it, as trunkline.PublishTx publishes: what commits is announced,
// what rolls back never was. It is a plain INSERT, which waits for nobody and which nobody waits for. The same can be done in SQL
// from any language, with trunkline.notify. [RetractTx] takes notifications back whose cause is gone, in the transaction that
// removes the cause.
//
// # Keeping
//
// A keeper ([Inbox.Run], in any program that has an engine) gives each notification its place in its user's inbox: a seq, which
// counts 1, 2, 3 … in the order in which things became visible. It adjusts the user's counts, and publishes both on the channel
// inbox:<user>. Every node may run one. They share the work without doing anything twice, and it goes on when any of them stops,
// dies, or loses its database.
//
// A push on that channel is JSON:
//
//	{
//	  "unseen": 3, "unread": 5, "version": 17,
//	  "added": [Item …],
//	  "changed": [{"id": 9, "seq": 4, "seen_at": …, "read_at": …, "archived_at": …, "snoozed_until": …} …],
//	  "removed": [7],
//	  "more": false
//	}
//
// The version counts 1, 2, 3 … with each push, so a client that has something newer, from [Inbox.List] or [Inbox.Mark], knows what
// to ignore. What is added comes newest first; what has changed is as it is by now; no item is in two of the lists. Where more has
// happened than fits a push, "more" is true, and clients list anew.
//
// # States
//
// An item is seen when it was shown, and read when its user has dealt with it, which implies that it was seen; it can be archived,
// and snoozed until it arrives anew. "Mark all as read" is said with the highest seq that was shown ([Mark.UpToSeq]), so that it
// never touches what arrived meanwhile. Unseen and unread count what is neither archived nor snoozed. The counts are kept, not
// counted; [Inbox.Check] proves them.
//
// # Mail
//
// What stays unread for long enough is mailed by package digest. When that is, is up to the kind ([SetKind]) and to the user's
// preferences.
package inbox
