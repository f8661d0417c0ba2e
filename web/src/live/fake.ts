// A stand-in for the SDK, for tests: it does nothing by itself.

import type { Centrifuge, ClientInfo, SubscriptionOptions } from 'centrifuge'

type Handler = (context: never) => void

export class FakeSubscription {
  readonly channel: string
  readonly options: SubscriptionOptions
  subscribed = false
  clients: Record<string, ClientInfo> = {}
  readonly #handlers = new Map<string, Handler[]>()

  constructor(channel: string, options: SubscriptionOptions) {
    this.channel = channel
    this.options = options
  }
  on(event: string, handler: Handler): void {
    this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), handler])
  }
  removeAllListeners(): void {
    this.#handlers.clear()
  }
  subscribe(): void {
    this.subscribed = true
  }
  unsubscribe(): void {
    this.subscribed = false
  }
  presence(): Promise<{ clients: Record<string, ClientInfo> }> {
    return Promise.resolve({ clients: this.clients })
  }

  /** Lets something happen, as the server would. */
  emit(event: string, context: object = {}): void {
    for (const handler of this.#handlers.get(event) ?? []) handler(context as never)
  }
  confirm(recovery: { wasRecovering?: boolean; recovered?: boolean } = {}): void {
    this.emit('subscribed', { wasRecovering: false, recovered: false, ...recovery })
  }
  publish(offset: number | undefined, data: unknown, tags: Record<string, string> = {}): void {
    this.emit('publication', { channel: this.channel, offset, data, tags })
  }
}

export class FakeConnection {
  /** Those that are subscribed now, by channel. */
  readonly open = new Map<string, FakeSubscription>()
  /** All that ever were. */
  readonly made: FakeSubscription[] = []

  newSubscription(channel: string, options: SubscriptionOptions): FakeSubscription {
    if (this.open.has(channel)) throw new Error(`Subscription to the channel ${channel} already exists`)
    const subscription = new FakeSubscription(channel, options)
    this.open.set(channel, subscription)
    this.made.push(subscription)
    return subscription
  }
  removeSubscription(subscription: FakeSubscription): void {
    if (this.open.get(subscription.channel) === subscription) this.open.delete(subscription.channel)
  }
  /** The one of a channel, which has to be there. */
  of(channel: string): FakeSubscription {
    const subscription = this.open.get(channel)
    if (!subscription) throw new Error(`nobody is subscribed to ${channel}`)
    return subscription
  }
  asConnection(): Centrifuge {
    return this as unknown as Centrifuge
  }
}
