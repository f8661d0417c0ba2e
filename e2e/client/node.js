// The SDK in Node.

import { Centrifuge } from 'centrifuge'
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf'
import { EventSource } from 'eventsource'
import { WebSocket } from 'ws'

import { makeClients } from './clients.js'
import { say, serve } from './lines.js'

/** @import { Surroundings } from './protocol.js' */

await serve(makeClients({
  json: Centrifuge,
  protobuf: /** @type {Surroundings['protobuf']} */ (/** @type {unknown} */ (CentrifugeProtobuf)),
  websocket: WebSocket,
  eventsource: /** @type {Surroundings['eventsource']} */ (/** @type {unknown} */ (EventSource)),
  emit: say,
}))
process.exit(0)
