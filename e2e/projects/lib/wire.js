// A wire between browsers and the program that can be cut.

import net from 'node:net'

/** Passes bytes on to a port, until it is cut: then those who are connected are silent, and nobody else gets through. */
export class Wire {
  /** @type {Set<net.Socket>} */
  #sockets = new Set()
  #cut = false

  /** @param {number} target */
  constructor(target) {
    this.server = net.createServer((client) => {
      if (this.#cut) {
        client.destroy()
        return
      }
      const server = net.connect(target, '127.0.0.1')
      for (const [from, to] of [[client, server], [server, client]]) {
        if (!from || !to) continue
        this.#sockets.add(from)
        from.on('error', () => to.destroy())
        from.on('close', () => {
          this.#sockets.delete(from)
          to.destroy()
        })
        from.pipe(to)
      }
    })
  }

  /** @param {number} target port */
  static async to(target) {
    const wire = new Wire(target)
    await new Promise((resolve) => wire.server.listen(0, '127.0.0.1', () => { resolve(null) }))
    return wire
  }

  get url() {
    const address = this.server.address()
    if (typeof address !== 'object' || address === null) throw new Error('the wire is gone')
    return `http://127.0.0.1:${address.port}`
  }

  /** From now on nothing gets through, and nobody is told: as when a cable is pulled. */
  cut() {
    this.#cut = true
    for (const socket of this.#sockets) {
      socket.unpipe()
      socket.pause()
    }
  }

  /** From now on new connections get through; the old ones break. */
  mend() {
    this.#cut = false
    for (const socket of this.#sockets) socket.destroy()
  }

  async close() {
    this.mend()
    await new Promise((resolve) => this.server.close(() => { resolve(null) }))
  }
}
