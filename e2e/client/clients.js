// Clients of the server, driven by commands. The same in Node and in a page of Chromium.

/**
 * @import { Centrifuge, Options, Subscription, SubscriptionOptions, PublicationContext } from 'centrifuge'
 * @import { Command, Failure, Handle, OpenClient, Subscribe, Surroundings } from './protocol.js'
 */

/**
 * @param {Surroundings} surroundings
 * @returns {Handle}
 */
export function makeClients(surroundings) {
  /** @type {Map<string, Client>} */
  const clients = new Map()
  /** @type {Map<string, EventSource>} */
  const streams = new Map()

  /** @param {string} name */
  const client = (name) => {
    const found = clients.get(name)
    if (!found) throw new Error(`there is no client ${name}`)
    return found
  }

  return async (command) => {
    switch (command.op) {
      case 'open':
        clients.set(command.client, new Client(command, surroundings))
        return null
      case 'stream':
        streams.set(command.client, openStream(command.client, command.url, surroundings))
        return null
      case 'close':
        clients.get(command.client)?.sdk.disconnect()
        clients.delete(command.client)
        streams.get(command.client)?.close()
        streams.delete(command.client)
        return null
      case 'page':
      case 'closePage':
        throw new Error('there are no pages here')
      default:
        return client(command.client).handle(command)
    }
  }
}

class Client {
  /** @type {Map<number, (token: string) => void>} */
  #asked = new Map()
  #asks = 0
  #protobuf
  #name
  #emit

  /**
   * @param {OpenClient} command
   * @param {Surroundings} surroundings
   */
  constructor(command, surroundings) {
    this.#name = command.client
    this.#emit = surroundings.emit
    this.#protobuf = command.format === 'protobuf'
    const SDK = this.#protobuf ? surroundings.protobuf : surroundings.json
    /** @type {Partial<Options>} */
    const options = {
      websocket: surroundings.websocket,
      eventsource: surroundings.eventsource,
      emulationEndpoint: command.emulation,
      // Quick to come back: tests wait for it.
      minReconnectDelay: 20,
      maxReconnectDelay: 200,
    }
    if (command.token !== undefined) options.token = command.token
    if (command.asks) options.getToken = () => this.#ask('')
    this.sdk = new SDK([{ transport: command.transport, endpoint: command.endpoint }], options)
    this.#listen(this.sdk)
    this.sdk.connect()
  }

  /**
   * @param {string} event
   * @param {object} [what]
   */
  #tell(event, what) {
    this.#emit({ event, client: this.#name, ...what })
  }

  /** @param {string} channel "" for the connection's token */
  #ask(channel) {
    const ask = ++this.#asks
    return new Promise((/** @type {(token: string) => void} */ resolve) => {
      this.#asked.set(ask, resolve)
      this.#tell('token', { ask, channel })
    })
  }

  /** @param {unknown} data */
  #decode(data) {
    /** @type {unknown} */
    const value = data instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(data)) : data
    return value
  }

  /** @param {unknown} data */
  #encode(data) {
    return this.#protobuf ? new TextEncoder().encode(JSON.stringify(data)) : data
  }

  /** @param {PublicationContext} publication */
  #publication(publication) {
    const { channel, offset = 0, tags, info } = publication
    return { channel, offset, tags, info, data: this.#decode(publication.data) }
  }

  /** @param {Centrifuge} sdk */
  #listen(sdk) {
    sdk.on('connecting', (e) => { this.#tell('connecting', e) })
    sdk.on('connected', (e) => { this.#tell('connected', { transport: e.transport, connection: e.client }) })
    sdk.on('disconnected', (e) => { this.#tell('disconnected', e) })
    sdk.on('error', (e) => { this.#tell('error', { type: e.type, error: e.error }) })
    // Subscriptions that the server made.
    sdk.on('subscribed', (e) => { this.#tell('subscribed', { ...e, server: true }) })
    sdk.on('subscribing', (e) => { this.#tell('subscribing', { ...e, server: true }) })
    sdk.on('unsubscribed', (e) => { this.#tell('unsubscribed', { ...e, server: true }) })
    sdk.on('publication', (e) => { this.#tell('publication', { ...this.#publication(e), server: true }) })
    sdk.on('join', (e) => { this.#tell('join', { ...e, server: true }) })
    sdk.on('leave', (e) => { this.#tell('leave', { ...e, server: true }) })
  }

  /** @param {Subscribe} command */
  #subscribe(command) {
    const { channel } = command
    /** @type {Partial<SubscriptionOptions>} */
    const options = { minResubscribeDelay: 20, maxResubscribeDelay: 200 }
    if (command.token !== undefined) options.token = command.token
    if (command.asks) options.getToken = () => this.#ask(channel)
    if (command.since) options.since = command.since
    if (command.recoverable) options.recoverable = true
    if (command.positioned) options.positioned = true
    if (command.joinLeave) options.joinLeave = true
    const old = this.sdk.getSubscription(channel)
    if (old) this.sdk.removeSubscription(old)
    const subscription = this.sdk.newSubscription(channel, options)
    subscription.on('subscribing', (e) => { this.#tell('subscribing', e) })
    subscription.on('subscribed', (e) => { this.#tell('subscribed', e) })
    subscription.on('unsubscribed', (e) => { this.#tell('unsubscribed', e) })
    subscription.on('publication', (e) => { this.#tell('publication', this.#publication(e)) })
    subscription.on('join', (e) => { this.#tell('join', e) })
    subscription.on('leave', (e) => { this.#tell('leave', e) })
    subscription.on('error', (e) => { this.#tell('error', { channel, type: e.type, error: e.error }) })
    subscription.subscribe()
  }

  /** @param {string} channel */
  #subscription(channel) {
    /** @type {Subscription | null} */
    const found = this.sdk.getSubscription(channel)
    if (!found) throw new Error(`${this.#name} has no subscription to ${channel}`)
    return found
  }

  /**
   * @param {Exclude<Command, { op: 'open' | 'close' | 'stream' | 'page' | 'closePage' }>} command
   * @returns {Promise<unknown>}
   */
  async handle(command) {
    switch (command.op) {
      case 'connect':
        this.sdk.connect()
        return null
      case 'disconnect':
        this.sdk.disconnect()
        return null
      case 'subscribe':
        this.#subscribe(command)
        return null
      case 'unsubscribe':
        this.#subscription(command.channel).unsubscribe()
        return null
      case 'publish':
        await this.sdk.publish(command.channel, this.#encode(command.data))
        return null
      case 'history': {
        const { publications, epoch, offset } = await this.sdk.history(command.channel, {
          limit: command.limit,
          ...(command.since && { since: command.since }),
          ...(command.reverse && { reverse: true }),
        })
        return { epoch, offset, publications: publications.map((p) => this.#publication(p)) }
      }
      case 'presence':
        return this.sdk.presence(command.channel)
      case 'presenceStats':
        return this.sdk.presenceStats(command.channel)
      case 'rpc':
        return this.#decode((await this.sdk.rpc(command.method, this.#encode(command.data))).data)
      case 'token':
        this.#asked.get(command.ask)?.(command.token)
        this.#asked.delete(command.ask)
        return null
    }
  }
}

/**
 * A plain EventSource, as a page without any library has it.
 *
 * @param {string} client
 * @param {string} url
 * @param {Surroundings} surroundings
 */
function openStream(client, url, { eventsource, emit }) {
  const stream = new eventsource(url)
  stream.addEventListener('open', () => { emit({ event: 'open', client }) })
  stream.addEventListener('error', () => { emit({ event: 'lost', client, state: stream.readyState }) })
  for (const kind of ['message', 'signal', 'reset']) {
    stream.addEventListener(kind, (/** @type {MessageEvent<string>} */ e) => {
      /** @type {unknown} */
      const data = JSON.parse(e.data)
      emit({ event: kind, client, lastEventId: e.lastEventId, data })
    })
  }
  return stream
}

/**
 * What a failed command is answered with.
 *
 * @param {unknown} error
 * @returns {Failure}
 */
export function failure(error) {
  if (typeof error === 'object' && error !== null) {
    const { code, message } = /** @type {{ code?: unknown, message?: unknown }} */ (error)
    return { code: typeof code === 'number' ? code : 0, message: String(message) }
  }
  return { code: 0, message: String(error) }
}
