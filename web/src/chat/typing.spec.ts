import { describe, expect, it } from 'vitest'

import { Timers } from './sample'
import { Typing, typingLine } from './typing'

function bench() {
  const timers = new Timers()
  const sent: number[] = []
  const shown: number[][] = []
  const typing = new Typing({
    me: 7,
    now: () => timers.now,
    later: timers.later,
    send: () => Promise.resolve(sent.push(timers.now)),
    changed: (people) => shown.push(people),
  })
  return { timers, sent, shown, typing }
}

describe('Typing', () => {
  it('tells at most each three seconds, and at once after a message', async () => {
    const { timers, sent, typing } = bench()
    const start = timers.now
    for (let i = 0; i < 70; i++) {
      typing.wrote()
      await timers.pass(100)
    }
    expect(sent.map((at) => at - start)).toEqual([0, 3000, 6000])
    typing.sent()
    typing.wrote()
    expect(sent).toHaveLength(4)
  })

  it('shows somebody for five seconds after the last signal, and never oneself', async () => {
    const { timers, shown, typing } = bench()
    typing.heard(7)
    expect(shown).toEqual([])
    typing.heard(8)
    await timers.pass(4000)
    typing.heard(8)
    await timers.pass(4900)
    expect(shown).toEqual([[8]])
    await timers.pass(200)
    expect(shown).toEqual([[8], []])
  })

  it('ends with the message', () => {
    const { shown, typing, timers } = bench()
    typing.heard(8)
    typing.heard(9)
    typing.ended(8)
    expect(shown).toEqual([[8], [8, 9], [9]])
    typing.stop()
    expect(timers.waiting).toBe(0)
  })
})

describe('typingLine', () => {
  it.each([
    [[], ''],
    [['Ann'], 'Ann is typing…'],
    [['Ann', 'Bob'], 'Ann and Bob are typing…'],
    [['Ann', 'Bob', 'Cy'], 'Several people are typing…'],
  ])('of %j', (names, line) => {
    expect(typingLine(names)).toBe(line)
  })
})
