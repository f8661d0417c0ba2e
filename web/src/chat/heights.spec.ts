import { describe, expect, it } from 'vitest'

import { Heights, type Row } from './heights'
import { random } from './sample'

const list = (count: number, from = 0): Row[] =>
  Array.from({ length: count }, (_, i) => ({ key: `r${from + i}`, estimate: 20 }))

describe('Heights', () => {
  it('places rows by what was measured, and by estimates', () => {
    const heights = new Heights()
    heights.setRows(list(4))
    expect(heights.total).toBe(80)
    expect(heights.measure([['r1', 50]])).toBe(true)
    expect(heights.measure([['r1', 50]])).toBe(false)
    expect(heights.measure([['gone', 50]])).toBe(false)
    expect([0, 1, 2, 3, 4].map((i) => heights.offset(i))).toEqual([0, 20, 70, 90, 110])
    expect([-5, 0, 19, 20, 69.5, 70, 109, 500].map((y) => heights.at(y))).toEqual([0, 0, 0, 1, 1, 2, 3, 3])
  })

  it('keeps measured heights when rows are put before', () => {
    const heights = new Heights()
    heights.setRows(list(3, 10))
    heights.measure([['r11', 100]])
    heights.setRows(list(13))
    expect(heights.offset(heights.indexOf('r12')!)).toBe(11 * 20 + 100)
    heights.forget()
    expect(heights.total).toBe(13 * 20)
  })

  it('knows nothing of an empty list', () => {
    const heights = new Heights()
    heights.setRows([])
    expect(heights.total).toBe(0)
    expect(heights.at(10)).toBe(0)
    expect(heights.indexOf('r0')).toBeUndefined()
  })

  it('agrees with adding up, whatever the order', () => {
    const next = random(3)
    const heights = new Heights()
    const known = new Map<string, number>()
    for (let step = 0; step < 60; step++) {
      const rows = list(50 + Math.floor(next() * 50), Math.floor(next() * 30))
      heights.setRows(rows)
      for (let i = 0; i < 10; i++) {
        const key = rows[Math.floor(next() * rows.length)]!.key
        known.set(key, 5 + Math.floor(next() * 200))
        heights.measure([[key, known.get(key)!]])
      }
      let y = 0
      rows.forEach((row, i) => {
        expect(heights.offset(i)).toBe(y)
        expect(heights.at(y + 1)).toBe(i)
        y += known.get(row.key) ?? row.estimate
      })
      expect(heights.total).toBe(y)
    }
  })
})
