import { expect, test } from 'vitest'

import { dice } from './fixture'
import { byRank, merge, rankBehind } from './order'

test('equal ranks are told apart by their ids', () => {
  const list = [
    { id: 3, rank: 1 },
    { id: 1, rank: 1 },
    { id: 2, rank: 0 },
  ]
  expect(list.sort(byRank).map(({ id }) => id)).toEqual([2, 1, 3])
})

test('merging is what taking out, putting in and sorting would be', () => {
  const random = dice(1)
  for (let round = 0; round < 300; round++) {
    const list = Array.from({ length: random(20) }, (_, id) => ({ id, rank: random(6) })).sort(byRank)
    const put = Array.from({ length: random(6) }, (_, i) => ({ id: random(2) ? i * 3 : 100 + i, rank: random(6) }))
    const out = new Set([...put.map(({ id }) => id), random(20)])
    const expected = [...list.filter(({ id }) => !out.has(id)), ...put].sort(byRank)
    expect(merge(list, put, out)).toEqual(expected)
  }
})

test.each([
  { name: 'alone', ranks: [], after: 0, first: 0 },
  { name: 'first', ranks: [5, 6], after: 0, first: 0 },
  { name: 'between', ranks: [5, 6], after: 1, first: 1 },
  { name: 'last', ranks: [5, 6], after: 2, first: 2 },
  { name: 'behind one that is gone', ranks: [5, 6], after: 99, first: 2 },
])('a rank for the place: $name', ({ ranks, after, first }) => {
  const siblings = ranks.map((rank, i) => ({ id: i + 1, rank }))
  const rank = rankBehind(siblings, after)
  const order = [...siblings, { id: 50, rank }].sort(byRank).map(({ id }) => id)
  expect(order.indexOf(50)).toBe(first)
})
