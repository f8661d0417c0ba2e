// The SDK in a page: the unmodified files that a page includes with a script tag each.

import { makeClients } from './clients.js'

/** @param {string} url */
async function load(url) {
  await new Promise((resolve, reject) => {
    const script = document.createElement('script')
    script.src = url
    script.onload = resolve
    script.onerror = reject
    document.head.append(script)
  })
  return window.Centrifuge // each of the two files sets it
}

const json = await load('/centrifuge.js')
const protobuf = await load('/centrifuge.protobuf.js')

// In the order in which it happened, although emit returns before it is received.
window.handle = makeClients({
  json,
  protobuf,
  websocket: window.WebSocket,
  eventsource: window.EventSource,
  emit: (happening) => { void window.emit(happening) },
})
