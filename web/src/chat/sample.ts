// Things for specs: messages, people, and timers that run when they are told to.

import type { Message, Person } from '../api/types'

export function message(seq: number, changes: Partial<Message> = {}): Message {
  return {
    id: 1000 + seq,
    conversation_id: 1,
    seq,
    author_id: 7,
    key: `key-${seq}`,
    body: `message ${seq}`,
    html: `<p>message ${seq}</p>`,
    created_at: new Date(Date.UTC(2026, 2, 2, 9, 0, seq)).toISOString(),
    edited_at: null,
    deleted_at: null,
    version: 1,
    attachments: [],
    ...changes,
  }
}

export function person(id: number, name: string, company = ''): Person {
  return { id, name, company, staff: company === '' }
}

/** A clock that stands until it is moved on. */
export class Timers {
  now = 1_000_000
  private queue: { at: number; call: () => void }[] = []

  readonly later = (call: () => void, ms: number): (() => void) => {
    const entry = { at: this.now + ms, call }
    this.queue.push(entry)
    return () => {
      this.queue = this.queue.filter((each) => each !== entry)
    }
  }

  get waiting(): number {
    return this.queue.length
  }

  /** Moves on by so many ms; what is due runs in its order, and promises in between. */
  async pass(ms: number): Promise<void> {
    const until = this.now + ms
    await flush()
    for (;;) {
      const [due] = this.queue.filter((entry) => entry.at <= until).sort((a, b) => a.at - b.at)
      if (!due) break
      this.queue = this.queue.filter((entry) => entry !== due)
      this.now = due.at
      due.call()
      await flush()
    }
    this.now = until
  }
}

/** Lets all promises that are settled go on. */
export async function flush(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve()
}

/** A storage in memory. */
export function shelf(): Storage {
  const kept = new Map<string, string>()
  return {
    get length() {
      return kept.size
    },
    clear: () => {
      kept.clear()
    },
    key: (i) => [...kept.keys()][i] ?? null,
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  }
}

/** Numbers from 0 to 1 that are the same in each run. */
export function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
