import { describe, expect, it } from 'vitest'

import { ApiError } from '../api/client'
import type { Message } from '../api/types'
import { judge } from './judge'
import { Outbox, type Pending } from './outbox'
import { flush, message, shelf, Timers } from './sample'
import { outboxStore } from './storage'

const content = (body: string) => ({ body, mentions: [], attachments: [] })

/** A server that answers when and how it is told to. */
function bench(storage = shelf()) {
  const timers = new Timers()
  const sent: string[] = []
  const stored: Message[] = []
  const answers: { resolve: (message: Message) => void; reject: (error: Error) => void }[] = []
  const outbox = new Outbox({
    send: (pending: Pending) => {
      sent.push(pending.key)
      return new Promise<Message>((resolve, reject) => {
        answers.push({ resolve, reject })
      })
    },
    judge,
    store: outboxStore(7, 1, storage),
    now: () => timers.now,
    later: timers.later,
    changed: () => undefined,
    stored: (given) => stored.push(given),
    patience: 60_000,
  })
  return {
    outbox,
    timers,
    storage,
    sent,
    stored,
    states: () => outbox.pending.map((each) => `${each.key} ${each.state}`),
    answer: async (key: string) => {
      answers.shift()?.resolve(message(1, { key }))
      await flush()
    },
    fail: async (error: Error) => {
      answers.shift()?.reject(error)
      await flush()
    },
    open: () => answers.length,
  }
}

const offline = new ApiError(0, 'The server can’t be reached.')
const refused = new ApiError(403, 'This project is archived.')

describe('Outbox', () => {
  it('sends one after the other, in the order of writing', async () => {
    const { outbox, sent, answer, stored, states, open } = bench()
    outbox.add('a', content('one'))
    outbox.add('b', content('two'))
    expect(sent).toEqual(['a'])
    expect(open()).toBe(1)
    await answer('a')
    expect(sent).toEqual(['a', 'b'])
    expect(states()).toEqual(['b sending'])
    await answer('b')
    expect(states()).toEqual([])
    expect(stored.map((each) => each.key)).toEqual(['a', 'b'])
  })

  it('tries again with the same key, and later ones wait', async () => {
    const { outbox, sent, fail, answer, timers, states } = bench()
    outbox.add('a', content('one'))
    outbox.add('b', content('two'))
    await fail(offline)
    expect(states()).toEqual(['a sending', 'b sending'])
    expect(sent).toEqual(['a'])
    await timers.pass(5_000)
    expect(sent).toEqual(['a', 'a'])
    await answer('a')
    expect(sent).toEqual(['a', 'a', 'b'])
  })

  it('tries at once when the connection is back', async () => {
    const { outbox, sent, fail, timers } = bench()
    outbox.add('a', content('one'))
    await fail(offline)
    expect(timers.waiting).toBe(1)
    outbox.wake()
    expect(sent).toEqual(['a', 'a'])
    expect(timers.waiting).toBe(0)
  })

  it('never has two attempts under way', async () => {
    const { outbox, open } = bench()
    outbox.add('a', content('one'))
    outbox.wake()
    outbox.wake()
    await flush()
    expect(open()).toBe(1)
  })

  it('waits as long as the server asks for', async () => {
    const { outbox, sent, fail, timers } = bench()
    outbox.add('a', content('one'))
    await fail(new ApiError(429, 'Too often.', {}, 30))
    await timers.pass(29_000)
    expect(sent).toEqual(['a'])
    await timers.pass(2_000)
    expect(sent).toEqual(['a', 'a'])
  })

  it('fails what is refused and goes on with the next', async () => {
    const { outbox, sent, fail, states } = bench()
    outbox.add('a', content('one'))
    outbox.add('b', content('two'))
    await fail(refused)
    expect(states()).toEqual(['a failed', 'b sending'])
    expect(outbox.pending[0]?.reason).toBe('This project is archived.')
    expect(sent).toEqual(['a', 'b'])
  })

  it('fails what couldn’t be sent for long', async () => {
    const { outbox, fail, timers, states, open } = bench()
    outbox.add('a', content('one'))
    for (let i = 0; i < 30 && open() > 0; i++) {
      await fail(offline)
      await timers.pass(16_000)
    }
    expect(states()).toEqual(['a failed'])
    expect(outbox.pending[0]?.reason).toContain('offline')
    expect(timers.waiting).toBe(0)
  })

  it('sends a failed one again with its key, or drops it', async () => {
    const { outbox, sent, fail, states, storage } = bench()
    outbox.add('a', content('one'))
    await fail(refused)
    outbox.add('b', content('two'))
    await fail(refused)
    outbox.discard('b')
    expect(states()).toEqual(['a failed'])
    outbox.retry('a')
    expect(states()).toEqual(['a sending'])
    expect(sent).toEqual(['a', 'b', 'a'])
    await fail(refused)
    outbox.discard('a')
    expect(states()).toEqual([])
    expect(outboxStore(7, 1, storage).load()).toEqual([])
  })

  it('doesn’t drop what is under way', () => {
    const { outbox, states } = bench()
    outbox.add('a', content('one'))
    outbox.discard('a')
    expect(states()).toEqual(['a sending'])
  })

  it('takes out what arrived by another way before its answer', async () => {
    const { outbox, sent, answer, states } = bench()
    outbox.add('a', content('one'))
    outbox.add('b', content('two'))
    outbox.settle('a')
    expect(states()).toEqual(['b sending'])
    await answer('a')
    expect(states()).toEqual(['b sending'])
    expect(sent).toEqual(['a', 'b'])
  })

  it('doesn’t fail what arrived while its answer was lost', async () => {
    const { outbox, fail, states } = bench()
    outbox.add('a', content('one'))
    outbox.settle('a')
    await fail(refused)
    expect(states()).toEqual([])
  })

  it('has failed ones still after a reload, and sends on what was under way, with its key', async () => {
    const first = bench()
    first.outbox.add('a', content('one'))
    await first.fail(refused)
    first.outbox.add('b', content('two'))
    first.outbox.stop()

    const second = bench(first.storage)
    expect(second.states()).toEqual(['a failed', 'b sending'])
    expect(second.outbox.pending[0]?.body).toBe('one')
    expect(second.outbox.pending[0]?.reason).toBe('This project is archived.')
    expect(second.sent).toEqual(['b'])
  })

  it('doesn’t send by itself what was left long ago', () => {
    const first = bench()
    first.outbox.add('a', content('one'))
    first.outbox.stop()
    const pending = outboxStore(7, 1, first.storage).load()
    outboxStore(7, 1, first.storage).put({ ...pending[0]!, at: 0 })

    const second = bench(first.storage)
    expect(second.states()).toEqual(['a failed'])
    expect(second.sent).toEqual([])
  })
})
