// Package realtime serves the Centrifuge protocol, with the engine as its broker: WebSocket, HTTP streaming and SSE.
package realtime
