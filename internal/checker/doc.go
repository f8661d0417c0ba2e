// Package checker holds the engine to its guarantees on a real PostgreSQL while what it rests on fails.
//
// Writers publish at random, nodes (processes of their own) deliver, faults strike; every node tells what each of its
// subscriptions received, and a verifier compares that with what the writers know and with what the database holds in the
// end. All random choices derive from one seed, so that a run's decisions can be repeated, though not its timing.
//
// docs/checker.md says what is asserted and how to run it.
package checker
