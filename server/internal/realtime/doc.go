// Package realtime serves the Centrifuge protocol, with the engine as its broker: WebSocket, HTTP streaming and SSE, in JSON and
// Protobuf.
//
// A publication's offset is the message's seq and its epoch the log's; tags carry id, at and sender, and signal for what is stored
// nowhere (its offset is 0). Of conflated channels offsets are 0 too, and tags carry skipped.
//
// Errors in replies: 100 try again, 103 permission denied, 104 no such method, 106 a limit of channels or of presence, 107 bad
// request, 109 token expired, 111 too many requests, 112 that history can't be continued.
//
// Why a subscription ends: 2000 by the server, for good; 2500 insufficient state, 2501 expired, 2600 settings changed, 2601 access
// changed: after these clients subscribe again by themselves, recovering what they missed.
//
// Why a connection ends, and is made again: 3001 the server stops, 3004 it is full or failed, 3005 expired, 3006 a subscription that
// the server made has expired, 3008 slow, 3009 a write failed, 3010 insufficient state, 3012 no pong, 3013 too many requests. And for
// good: 3500 bad or revoked token, 3501 bad request, 3502 never connected, 3503 by the server, 3504 too many connections of the user,
// 3505 too many channels, 3507 permission denied, 3508 not available.
package realtime
