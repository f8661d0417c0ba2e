import { describe, expect, it } from 'vitest'

import type { Message } from '../api/types'
import { MessageLog } from './log'
import { message, random } from './sample'

/** What a log must come to: the newest version of each message, and all stretches without gaps. */
class Model {
  readonly messages = new Map<number, Message>()

  take(given: Message): void {
    const former = this.messages.get(given.seq)
    if (!former || former.version < given.version) this.messages.set(given.seq, given)
  }

  runs(): { from: number; to: number }[] {
    const runs: { from: number; to: number }[] = []
    for (const seq of [...this.messages.keys()].sort((a, b) => a - b)) {
      const run = runs.at(-1)
      if (run?.to === seq - 1) run.to = seq
      else runs.push({ from: seq, to: seq })
    }
    return runs
  }
}

describe('MessageLog', () => {
  it('joins a page to what was pushed before it', () => {
    const log = new MessageLog(500)
    log.takeAll([1, 2, 3].map((seq) => message(seq)))
    expect(log.take(message(501))).toBe(true)
    expect(log.all()).toEqual([
      { from: 1, to: 3 },
      { from: 501, to: 501 },
    ])
    log.takeAll(Array.from({ length: 497 }, (_, i) => message(4 + i)))
    expect(log.all()).toEqual([{ from: 1, to: 501 }])
    expect(log.lastSeq).toBe(501)
  })

  it('keeps an edit that comes before its original', () => {
    const log = new MessageLog()
    log.take(message(2, { body: 'edited', version: 2 }))
    expect(log.take(message(2, { body: 'original', version: 1 }))).toBe(false)
    expect(log.get(2)?.body).toBe('edited')
  })

  it('lets no older version bring a deleted message back', () => {
    const log = new MessageLog()
    log.take(message(1))
    log.take(message(1, { body: '', deleted_at: '2026-03-02T10:00:00Z', version: 3 }))
    log.take(message(1, { body: 'edited', version: 2 }))
    expect(log.get(1)?.deleted_at).not.toBeNull()
  })

  it('knows how far a conversation goes beyond what is here', () => {
    const log = new MessageLog(3)
    log.reaches(9)
    log.reaches(5)
    expect(log.lastSeq).toBe(9)
    expect(log.runAt(9)).toBeUndefined()
  })

  it.each(Array.from({ length: 60 }, (_, seed) => seed))('comes to the same as its model, sequence %i', (seed) => {
    const next = random(seed + 1)
    const pick = (most: number): number => 1 + Math.floor(next() * most)
    const total = 5 + pick(120)
    // Each message's history on the server.
    const history = new Map<number, Message[]>()
    for (let seq = 1; seq <= total; seq++) {
      const versions = [message(seq)]
      for (let version = 2; version <= pick(4); version++) {
        const deleted = next() < 0.2
        versions.push(
          message(seq, { version, body: deleted ? '' : `edit ${version}`, deleted_at: deleted ? 'now' : null }),
        )
      }
      history.set(seq, versions)
    }
    const at = (seq: number): Message => {
      const versions = history.get(seq)!
      return versions[pick(versions.length) - 1]!
    }

    const log = new MessageLog()
    const model = new Model()
    for (let step = 0; step < 150; step++) {
      const from = pick(total)
      // A delta of any version, or a page with whatever versions it was read in.
      const batch =
        next() < 0.6 ? [from] : Array.from({ length: Math.min(pick(30), total - from + 1) }, (_, i) => from + i)
      for (const seq of batch) {
        const given = at(seq)
        model.take(given)
        log.take(given)
      }
    }
    expect(log.all()).toEqual(model.runs())
    for (const run of log.all()) {
      expect(log.messages(run)).toEqual(
        Array.from({ length: run.to - run.from + 1 }, (_, i) => model.messages.get(run.from + i)),
      )
      expect(log.runAt(run.from)).toEqual(run)
      expect(log.runAt(run.to)).toEqual(run)
      expect(log.runAt(run.to + 1)).toBeUndefined()
    }
    expect(log.size).toBe(model.messages.size)
    expect(log.lastSeq).toBe(Math.max(...model.messages.keys()))
  })
})
