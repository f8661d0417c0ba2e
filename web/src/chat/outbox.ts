// What somebody has written and the server hasn't confirmed yet, in the order of writing.

import type { Attachment, Message } from '../api/types'

/** A message under way. */
export interface Pending {
  /** Stays the same however often it is sent: the server stores one message per key. */
  key: string
  body: string
  mentions: number[]
  attachments: Attachment[]
  /** When it was written or, after a failure, tried anew; ms since 1970. */
  at: number
  state: 'sending' | 'failed'
  /** Why it failed, for people. */
  reason: string
}

/** What becomes of an attempt that didn't succeed. */
export type Verdict =
  | { kind: 'refused'; reason: string }
  /** It may work later; `after` is the least wait in ms. */
  | { kind: 'again'; after: number }

export interface OutboxOptions {
  send: (pending: Pending) => Promise<Message>
  /** Judges a failed attempt. */
  judge: (error: unknown) => Verdict
  store: OutboxStore
  now: () => number
  later: (call: () => void, ms: number) => () => void
  /** Called whenever the list has changed. */
  changed: (pending: readonly Pending[]) => void
  /** Called with what the server has stored. */
  stored: (message: Message) => void
  /** How long it is tried without a person's doing, in ms. */
  patience?: number
}

/** Where unconfirmed messages outlive the page. */
export interface OutboxStore {
  load: () => Pending[]
  put: (pending: Pending) => void
  remove: (key: string) => void
}

const tooLong = 'You have been offline for too long. Check your connection and try again.'

/** Sends one message at a time, so that somebody's messages keep their order. */
export class Outbox {
  private list: Pending[]
  private busy = ''
  private attempts = 0
  private timer: (() => void) | null = null
  private stopped = false

  constructor(private readonly options: OutboxOptions) {
    this.list = options.store.load()
    this.expire()
    void this.next()
  }

  /** What is under way or has failed, oldest first. */
  get pending(): readonly Pending[] {
    return this.list
  }

  add(key: string, content: { body: string; mentions: number[]; attachments: Attachment[] }): void {
    const pending: Pending = { ...content, key, at: this.options.now(), state: 'sending', reason: '' }
    this.put(pending)
    void this.next()
  }

  /** Takes out what the server is known to have stored. */
  settle(key: string): void {
    if (!this.list.some((pending) => pending.key === key)) return
    this.list = this.list.filter((pending) => pending.key !== key)
    this.options.store.remove(key)
    this.options.changed(this.list)
  }

  /** Tries a failed one again, with its key, behind what is under way. */
  retry(key: string): void {
    const former = this.list.find((pending) => pending.key === key && pending.state === 'failed')
    if (!former) return
    this.list = this.list.filter((pending) => pending !== former)
    this.put({ ...former, at: this.options.now(), state: 'sending', reason: '' })
    this.wake()
  }

  /** Drops a failed one. */
  discard(key: string): void {
    if (this.list.some((pending) => pending.key === key && pending.state === 'failed')) this.settle(key)
  }

  /** Tries at once, because the connection is back. */
  wake(): void {
    this.timer?.()
    this.timer = null
    this.attempts = 0
    void this.next()
  }

  stop(): void {
    this.stopped = true
    this.timer?.()
  }

  private isStopped(): boolean {
    return this.stopped
  }

  private put(pending: Pending): void {
    const at = this.list.findIndex((former) => former.key === pending.key)
    this.list = at < 0 ? [...this.list, pending] : this.list.with(at, pending)
    this.options.store.put(pending)
    this.options.changed(this.list)
  }

  private fail(pending: Pending, reason: string): void {
    if (this.list.includes(pending)) this.put({ ...pending, state: 'failed', reason })
  }

  /** Gives up on what has been tried for too long. */
  private expire(): void {
    const oldest = this.options.now() - (this.options.patience ?? 120_000)
    for (const pending of this.list) if (pending.state === 'sending' && pending.at < oldest) this.fail(pending, tooLong)
  }

  private async next(): Promise<void> {
    const head = this.list.find((pending) => pending.state === 'sending')
    if (this.stopped || this.busy !== '' || this.timer || !head) return
    this.busy = head.key
    let wait = 0
    try {
      const message = await this.options.send(head)
      this.attempts = 0
      this.options.stored(message)
      this.settle(head.key)
    } catch (error) {
      wait = this.judged(head, error)
    }
    this.busy = ''
    if (wait > 0 && !this.isStopped()) {
      this.timer = this.options.later(() => {
        this.timer = null
        this.expire()
        void this.next()
      }, wait)
    } else void this.next()
  }

  /** What to do after a failed attempt: wait for so many ms, 0 for going on with the next one. */
  private judged(head: Pending, error: unknown): number {
    const verdict = this.options.judge(error)
    if (verdict.kind === 'refused') {
      this.attempts = 0
      this.fail(head, verdict.reason)
      return 0
    }
    this.expire()
    const backoff = Math.min(15_000, 500 * 2 ** this.attempts++)
    return Math.max(verdict.after, backoff * (0.75 + Math.random() / 2))
  }
}
