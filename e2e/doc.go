// Package e2e tests the built server from outside: with the unmodified JavaScript SDK of Centrifuge in Node and in Chromium,
// with EventSource and curl, behind nginx, on two nodes, and with clients that mean harm.
//
// The tests start `trunkline serve` and drive the programs in client/ with lines of JSON: a command goes in, its answer and
// what happens to the clients come out. They wait for what happens, never for time to pass.
package e2e
