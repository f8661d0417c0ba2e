// Package trunkline makes the PostgreSQL an application already runs its live channel: the committed transaction is the
// publish.
//
// Publishing is an INSERT inside the caller's own transaction ([PublishTx]): what commits is announced, what rolls back
// never was. An [Engine] numbers committed messages, delivers them live to subscriptions ([Engine.Subscribe]), and lets
// any of them resume where it stopped. Every message has a position in the one log and a seq (1, 2, 3 …) within its
// channel; both are meaningful only together with the log's epoch.
//
// Any number of engines may run on one database. One of them, whichever holds an advisory lock, is the sequencer that
// writes the log; the others follow it and take over within seconds when it stops. Publishing needs no engine at all.
//
// The guarantees, and what they rest on, are in docs/guarantees.md and docs/proof.md.
package trunkline
