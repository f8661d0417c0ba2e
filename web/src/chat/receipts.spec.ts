import { describe, expect, it } from 'vitest'

import { Receipts } from './receipts'
import { flush, random, Timers } from './sample'

function bench(readSeq = 0) {
  const timers = new Timers()
  const sent: number[] = []
  const state = { failing: false }
  const receipts = new Receipts({
    later: timers.later,
    send: (seq) => {
      sent.push(seq)
      return state.failing ? Promise.reject(new Error('offline')) : Promise.resolve()
    },
    every: 1000,
    dwell: 400,
  })
  receipts.begin(readSeq)
  receipts.setActive(true)
  return { receipts, timers, sent, state }
}

describe('Receipts', () => {
  it('sends the highest that was displayed', async () => {
    const { receipts, timers, sent } = bench()
    receipts.shown(4, true)
    receipts.shown(6, true)
    receipts.shown(5, true)
    await timers.pass(5000)
    expect(sent).toEqual([6])
  })

  it('sends nothing for what only flew by', async () => {
    const { receipts, timers, sent } = bench()
    receipts.shown(9, true)
    await timers.pass(100)
    receipts.shown(9, false)
    receipts.shown(3, true)
    await timers.pass(5000)
    expect(sent).toEqual([3])
  })

  it('sends nothing while nobody looks, and what is there when somebody does', async () => {
    const { receipts, timers, sent } = bench()
    receipts.setActive(false)
    receipts.shown(5, true)
    await timers.pass(10_000)
    expect(sent).toEqual([])
    receipts.setActive(true)
    await timers.pass(500)
    expect(sent).toEqual([5])
  })

  it('forgets what was waiting when one looks away', async () => {
    const { receipts, timers, sent } = bench()
    receipts.shown(5, true)
    await timers.pass(200)
    receipts.setActive(false)
    await timers.pass(10_000)
    expect(sent).toEqual([])
  })

  it('sends nothing before it knows how far had been read', async () => {
    const timers = new Timers()
    const sent: number[] = []
    const receipts = new Receipts({ later: timers.later, send: (seq) => Promise.resolve(sent.push(seq)) })
    receipts.setActive(true)
    receipts.shown(5, true)
    await timers.pass(5000)
    expect(sent).toEqual([])
    receipts.begin(2)
    await timers.pass(5000)
    expect(sent).toEqual([5])
  })

  it('sends nothing that is known to be read', async () => {
    const { receipts, timers, sent } = bench(5)
    receipts.shown(5, true)
    await timers.pass(5000)
    receipts.known(9)
    receipts.shown(8, true)
    await timers.pass(5000)
    expect(sent).toEqual([])
  })

  it('sends no more often than it should', async () => {
    const { receipts, timers, sent } = bench()
    for (let seq = 1; seq <= 100; seq++) {
      receipts.shown(seq, true)
      await timers.pass(100)
    }
    await timers.pass(5000)
    expect(sent.length).toBeLessThanOrEqual(12)
    expect(sent.at(-1)).toBe(100)
  })

  it('tries again what didn’t get through', async () => {
    const { receipts, timers, sent, state } = bench()
    state.failing = true
    receipts.shown(3, true)
    await timers.pass(1000)
    expect(sent).toEqual([3])
    state.failing = false
    await timers.pass(10_000)
    expect(sent.at(-1)).toBe(3)
    expect(sent.length).toBeGreaterThan(1)
    const before = sent.length
    await timers.pass(60_000)
    expect(sent.length).toBe(before)
  })

  it.each([1, 2, 3, 4, 5])('never claims what wasn’t displayed while somebody looked, sequence %i', async (seed) => {
    const next = random(seed)
    const { receipts, timers, sent } = bench()
    const displayed = new Set<number>()
    let active = true
    let highest = 0
    for (let step = 0; step < 400; step++) {
      const seq = 1 + Math.floor(next() * 50)
      const what = next()
      if (what < 0.4) displayed.add(seq)
      else if (what < 0.7) displayed.delete(seq)
      else if (what < 0.8) active = !active
      if (what < 0.7) receipts.shown(seq, what < 0.4)
      else if (what < 0.8) receipts.setActive(active)
      if (active) highest = Math.max(highest, ...displayed)
      await timers.pass(Math.floor(next() * 600))
      await flush()
      expect(Math.max(0, ...sent)).toBeLessThanOrEqual(highest)
    }
    expect(sent).toEqual([...sent].sort((a, b) => a - b))
    expect(sent.length).toBeGreaterThan(0)
  })
})
