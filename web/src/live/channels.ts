// Subscriptions, shared: the SDK allows one for each channel, and parts of a page that don't know of each other may follow the same.

import type { Centrifuge, ClientInfo, PublicationContext, Subscription } from 'centrifuge'

import type { Position } from '../api/types'

/** One that follows a channel. */
export interface Follower {
  /** To follow from; where there is none, from now on, with the newest message first in a conflated channel. */
  position: Position | undefined
  /** Whether to be told who is there. */
  presence: boolean
  publication: (publication: PublicationContext) => void
  subscribing?: () => void
  subscribed?: () => void
  /** What was missed can't be had: the state is to be read anew. The follower has been taken off. */
  lost: () => void
  /** It may not follow, or not any more. The follower has been taken off. */
  refused: (code: number) => void
  /** All who are there, by client. */
  present?: (clients: readonly ClientInfo[]) => void
}

const presenceEvery = 60_000 // ms; joins and leaves may get lost, presence is what counts

/** All channels of the page's connection. They may be followed before there is one. */
export class Channels {
  readonly #open = new Map<string, Channel>()
  #connection: Centrifuge | undefined

  /** Follows a channel until the function that it answers is called. */
  follow(name: string, follower: Follower): () => void {
    let channel = this.#open.get(name)
    if (!channel) {
      const made = new Channel(name, () => {
        if (this.#open.get(name) === made) this.#open.delete(name)
      })
      made.connection = this.#connection
      channel = made
      this.#open.set(name, channel)
    }
    const joined = channel
    joined.add(follower)
    return () => {
      joined.remove(follower)
    }
  }

  /** Subscribes to all that is followed, now and from now on. */
  attach(connection: Centrifuge): void {
    this.#connection = connection
    for (const channel of this.#open.values()) {
      channel.connection = connection
      channel.open()
    }
  }

  /** Ends all. */
  clear(): void {
    for (const channel of [...this.#open.values()]) channel.close()
    this.#open.clear()
    this.#connection = undefined
  }
}

/** A channel that somebody follows. */
class Channel {
  connection: Centrifuge | undefined
  readonly #name: string
  readonly #closed: () => void
  /** How far each has got. */
  readonly #followers = new Map<Follower, number>()
  /** How it is followed. */
  #wanted: { position: Position | undefined; presence: boolean } | undefined
  #subscription: Subscription | undefined
  #live = false
  #epoch: string | undefined
  /** Of the last publication that came. */
  #offset = 0
  #clients = new Map<string, ClientInfo>()
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(name: string, closed: () => void) {
    this.#name = name
    this.#closed = closed
  }

  add(follower: Follower): void {
    const { position } = follower
    this.#followers.set(follower, position?.offset ?? 0)
    if (!this.#wanted) {
      this.#begin(position, follower.presence)
      return
    }
    // Offsets of two epochs can't be compared: the newest snapshot's counts, the others read theirs anew.
    const otherEpoch = position && this.#epoch !== undefined && position.epoch !== this.#epoch
    const others = otherEpoch ? this.#takeOthersOff(follower) : []
    // One with an older snapshot makes all begin there again; what the others have had, they aren't given twice.
    const behind = position && (position.epoch !== this.#epoch || position.offset < this.#offset)
    const presence = follower.presence || this.#wanted.presence
    const newestFirst = !position && this.#epoch === undefined
    if (behind || newestFirst || presence !== this.#wanted.presence) {
      const from = behind || this.#epoch === undefined ? position : { epoch: this.#epoch, offset: this.#offset }
      this.#unsubscribe()
      this.#begin(from, presence)
      for (const other of others) other.lost()
      return
    }
    if (this.#live) follower.subscribed?.()
    if (presence) follower.present?.([...this.#clients.values()])
  }

  remove(follower: Follower): void {
    if (this.#followers.delete(follower) && this.#followers.size === 0) this.close()
  }

  close(): void {
    this.#followers.clear()
    this.#unsubscribe()
    this.#closed()
  }

  #begin(position: Position | undefined, presence: boolean): void {
    this.#wanted = { position, presence }
    this.#epoch = position?.epoch
    this.#offset = position?.offset ?? 0
    this.#clients = new Map()
    this.open()
  }

  /** Subscribes, once there is a connection. */
  open(): void {
    if (!this.connection || !this.#wanted || this.#subscription) return
    const { position, presence } = this.#wanted
    const subscription = this.connection.newSubscription(this.#name, {
      ...(position ? { since: position, positioned: true, recoverable: true } : {}),
      joinLeave: presence,
      minResubscribeDelay: 300,
      maxResubscribeDelay: 8_000,
    })
    this.#subscription = subscription

    subscription.on('subscribing', () => {
      this.#live = false
      this.#each((follower) => follower.subscribing?.())
    })
    subscription.on('subscribed', ({ wasRecovering, recovered }) => {
      if (position && wasRecovering && !recovered) {
        this.#end((follower) => {
          follower.lost()
        })
        return
      }
      this.#live = true
      this.#each((follower) => follower.subscribed?.())
      if (presence) this.#readPresence(subscription)
    })
    subscription.on('publication', (publication) => {
      this.#publication(publication)
    })
    subscription.on('unsubscribed', ({ code }) => {
      if (subscription !== this.#subscription || code === 0) return
      this.#end((follower) => {
        follower.refused(code)
      })
    })
    if (presence) {
      subscription.on('join', ({ info }) => {
        this.#clients.set(info.client, info)
        this.#tellPresence()
      })
      subscription.on('leave', ({ info }) => {
        this.#clients.delete(info.client)
        this.#tellPresence()
      })
      this.#timer = setInterval(() => {
        this.#readPresence(subscription)
      }, presenceEvery)
    }
    subscription.subscribe()
  }

  #publication(publication: PublicationContext): void {
    const { offset } = publication
    if (offset) this.#offset = Math.max(this.#offset, offset)
    for (const [follower, had] of [...this.#followers]) {
      if (offset) {
        if (offset <= had) continue
        if (this.#followers.has(follower)) this.#followers.set(follower, offset)
      }
      follower.publication(publication)
    }
  }

  #readPresence(subscription: Subscription): void {
    if (!this.#live) return
    subscription.presence().then(
      ({ clients }) => {
        if (subscription !== this.#subscription) return
        this.#clients = new Map(Object.entries(clients))
        this.#tellPresence()
      },
      () => undefined, // the connection went; it is read again when it is back
    )
  }

  #tellPresence(): void {
    const clients = [...this.#clients.values()]
    this.#each((follower) => follower.present?.(clients))
  }

  #each(tell: (follower: Follower) => void): void {
    for (const follower of [...this.#followers.keys()]) tell(follower)
  }

  #takeOthersOff(follower: Follower): Follower[] {
    const others = [...this.#followers.keys()].filter((one) => one !== follower)
    for (const other of others) this.#followers.delete(other)
    return others
  }

  /** Takes all followers off, then tells them: one that follows again at once gets a new subscription. */
  #end(tell: (follower: Follower) => void): void {
    const followers = [...this.#followers.keys()]
    this.close()
    followers.forEach(tell)
  }

  #unsubscribe(): void {
    const subscription = this.#subscription
    this.#subscription = undefined
    this.#wanted = undefined
    this.#live = false
    clearInterval(this.#timer)
    if (!subscription) return
    subscription.removeAllListeners()
    subscription.unsubscribe()
    this.connection?.removeSubscription(subscription)
  }
}
