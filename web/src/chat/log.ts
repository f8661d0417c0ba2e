// The messages of a conversation that are here, in whatever order they came.

import type { Message } from '../api/types'

/** A stretch of messages without gaps, from and to included. */
export interface Run {
  from: number
  to: number
}

/**
 * Keeps what pages and deltas bring. Both are taken in the same way: of one message the highest version stays, so that doubles,
 * edits that overtake their originals and pages that overlap deltas come to the same in any order.
 */
export class MessageLog {
  private readonly bySeq = new Map<number, Message>()
  /** Sorted, apart from each other by at least one message. */
  private readonly runs: Run[] = []
  private newest: number

  constructor(lastSeq = 0) {
    this.newest = lastSeq
  }

  /** The highest seq that is known of, here or not. */
  get lastSeq(): number {
    return this.newest
  }

  get size(): number {
    return this.bySeq.size
  }

  /** Takes a message in. False: it is known already, in this version or a later one. */
  take(message: Message): boolean {
    const former = this.bySeq.get(message.seq)
    if (former && former.version >= message.version) return false
    this.bySeq.set(message.seq, message)
    if (!former) this.join(message.seq)
    if (message.seq > this.newest) this.newest = message.seq
    return true
  }

  /** Takes many in, and says how many of them were new or newer. */
  takeAll(messages: readonly Message[]): number {
    let taken = 0
    for (const message of messages) if (this.take(message)) taken++
    return taken
  }

  /** Says that the conversation goes up to seq, though the messages aren't here. */
  reaches(seq: number): void {
    if (seq > this.newest) this.newest = seq
  }

  get(seq: number): Message | undefined {
    return this.bySeq.get(seq)
  }

  /** The run that holds seq. */
  runAt(seq: number): Run | undefined {
    const run = this.runs[this.find(seq)]
    return run && run.from <= seq ? { ...run } : undefined
  }

  /** The messages of a run, by seq. */
  messages(run: Run): Message[] {
    const list: Message[] = []
    for (let seq = run.from; seq <= run.to; seq++) {
      const message = this.bySeq.get(seq)
      if (message) list.push(message)
    }
    return list
  }

  /** All runs, by seq. */
  all(): Run[] {
    return this.runs.map((run) => ({ ...run }))
  }

  /** The index of the first run that ends at or behind seq. */
  private find(seq: number): number {
    let low = 0
    let high = this.runs.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.runs[middle] as Run).to < seq) low = middle + 1
      else high = middle
    }
    return low
  }

  private join(seq: number): void {
    const at = this.find(seq)
    const left = this.runs[at - 1]
    const right = this.runs[at]
    const joinsLeft = left?.to === seq - 1
    const joinsRight = right?.from === seq + 1
    if (left && right && joinsLeft && joinsRight) {
      left.to = right.to
      this.runs.splice(at, 1)
    } else if (left && joinsLeft) left.to = seq
    else if (right && joinsRight) right.from = seq
    else this.runs.splice(at, 0, { from: seq, to: seq })
  }
}
