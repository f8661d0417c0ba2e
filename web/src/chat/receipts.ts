// How far somebody has read, told to the server for what was really displayed.

export interface ReceiptsOptions {
  /** Tells the server. A rejection is tried again, less and less often. */
  send: (seq: number) => Promise<unknown>
  /** Calls later, in ms, and returns what calls it off. */
  later: (call: () => void, ms: number) => () => void
  /** The least time between two sendings, in ms. */
  every?: number
  /** How long a message must have been displayed, in ms. */
  dwell?: number
}

/**
 * Collects which messages are displayed and sends the highest of them, never more often than each `every` ms.
 * While the page is hidden or out of focus nothing counts as displayed; what is still there when it comes back does then.
 */
export class Receipts {
  private readonly displayed = new Set<number>()
  private active = false
  private sent = Infinity
  private timer: (() => void) | null = null
  private waiting: (() => void) | null = null
  private high = 0
  private failures = 0
  private stopped = false

  constructor(private readonly options: ReceiptsOptions) {}

  /** The highest seq that was sent or that the server is known to have. */
  get readSeq(): number {
    return this.sent
  }

  /** Says how far had been read when the conversation was opened; before that nothing is sent. */
  begin(seq: number): void {
    this.sent = seq
    this.dwell()
  }

  /** What another window or the server says has been read. */
  known(seq: number): void {
    if (seq > this.sent) this.sent = seq
  }

  /** A message has come into view or left it. */
  shown(seq: number, visible: boolean): void {
    if (visible) this.displayed.add(seq)
    else this.displayed.delete(seq)
    if (visible) this.dwell()
  }

  /** The page is visible and focused, or isn't any more. */
  setActive(active: boolean): void {
    this.active = active
    if (active) this.dwell()
    else this.cancelDwell()
  }

  stop(): void {
    this.stopped = true
    this.timer?.()
    this.timer = null
    this.cancelDwell()
  }

  private cancelDwell(): void {
    this.waiting?.()
    this.waiting = null
  }

  /** After the dwell, what is still displayed has been read. */
  private dwell(): void {
    if (this.stopped || !this.active || this.waiting || !this.beyond(this.top())) return
    this.waiting = this.options.later(() => {
      this.waiting = null
      if (!this.active) return
      this.high = Math.max(this.high, this.top())
      this.flush()
    }, this.options.dwell ?? 400)
  }

  private top(): number {
    let top = 0
    for (const seq of this.displayed) if (seq > top) top = seq
    return top
  }

  private beyond(seq: number): boolean {
    return seq > this.sent && seq > this.high
  }

  private flush(): void {
    if (this.stopped || this.timer || this.high <= this.sent) return
    const seq = this.high
    const before = this.sent
    this.sent = seq
    this.options.send(seq).then(
      () => (this.failures = 0),
      () => {
        this.failures++
        if (this.sent === seq) this.sent = before
      },
    )
    const wait = () => {
      this.timer = null
      this.flush()
    }
    this.timer = this.options.later(wait, (this.options.every ?? 1000) * 2 ** Math.min(this.failures, 5))
  }
}
