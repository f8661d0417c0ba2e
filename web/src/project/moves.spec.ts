import { expect, test } from 'vitest'

import type { Task } from '@/api/types'

import { aMilestone, aTask, dice } from './fixture'
import { byMilestone, rows } from './listing'
import { placeOf, rankAt, step, type Place, type Target } from './moves'
import { byRank } from './order'

const milestones = [aMilestone({ id: 10 }), aMilestone({ id: 20 }), aMilestone({ id: 30 })]
const tasks = [
  aTask({ id: 1, milestone_id: 10 }),
  aTask({ id: 2, milestone_id: 10 }),
  aTask({ id: 3, milestone_id: 10 }),
  aTask({ id: 4, milestone_id: 30 }),
  aTask({ id: 5, milestone_id: null }),
]

test.each<{ name: string; id: number; target: Target; want: Place | undefined }>([
  { name: 'before', id: 3, target: { kind: 'before', task: 2 }, want: { milestone: 10, after: 1 } },
  { name: 'before the first', id: 3, target: { kind: 'before', task: 1 }, want: { milestone: 10, after: 0 } },
  { name: 'behind', id: 1, target: { kind: 'behind', task: 3 }, want: { milestone: 10, after: 3 } },
  { name: 'behind, in another', id: 1, target: { kind: 'behind', task: 4 }, want: { milestone: 30, after: 4 } },
  { name: 'into an empty one', id: 1, target: { kind: 'into', milestone: 20 }, want: { milestone: 20, after: 0 } },
  { name: 'out of all', id: 4, target: { kind: 'into', milestone: null }, want: { milestone: null, after: 0 } },
  { name: 'where it stands', id: 2, target: { kind: 'behind', task: 1 }, want: undefined },
  { name: 'where it stands, seen from below', id: 2, target: { kind: 'before', task: 3 }, want: undefined },
  { name: 'at itself', id: 2, target: { kind: 'before', task: 2 }, want: undefined },
  { name: 'at one that is gone', id: 2, target: { kind: 'before', task: 99 }, want: undefined },
])('a place: $name', ({ id, target, want }) => {
  expect(placeOf(id, target, tasks, milestones)).toEqual(want)
})

const shown = (list: readonly Task[] = tasks) =>
  rows(list, milestones, { filter: 'all', search: '', me: 7, lingering: new Set(), editable: true })

test.each<{ id: number; direction: -1 | 1; want: Target | undefined }>([
  { id: 2, direction: -1, want: { kind: 'before', task: 1 } },
  { id: 2, direction: 1, want: { kind: 'behind', task: 3 } },
  { id: 1, direction: -1, want: undefined },
  { id: 3, direction: 1, want: { kind: 'into', milestone: 20 } },
  { id: 4, direction: -1, want: { kind: 'into', milestone: 20 } },
  { id: 4, direction: 1, want: { kind: 'into', milestone: null } },
  { id: 5, direction: -1, want: { kind: 'behind', task: 4 } },
  { id: 5, direction: 1, want: undefined },
  { id: 99, direction: 1, want: undefined },
])('one step of task $id by $direction', ({ id, direction, want }) => {
  expect(step(id, direction, shown())).toEqual(want)
})

test('wherever a task goes, it stands behind the one it was put behind', () => {
  const random = dice(3)
  let list = Array.from({ length: 12 }, (_, i) => aTask({ id: i + 1, milestone_id: [10, 20, null][random(3)] ?? null }))
  for (let i = 0; i < 200; i++) {
    const id = 1 + random(12)
    const direction = random(2) ? 1 : -1
    const target: Target | undefined =
      random(2) > 0 ? step(id, direction, shown(list)) : { kind: random(2) ? 'before' : 'behind', task: 1 + random(12) }
    const place = target && placeOf(id, target, list, milestones)
    if (!place) continue
    const rank = rankAt(id, place, list, milestones)
    list = list.map((task) => (task.id === id ? { ...task, rank, milestone_id: place.milestone } : task)).sort(byRank)
    const group = byMilestone(list, milestones).get(place.milestone) ?? []
    const at = group.findIndex((task) => task.id === id)
    expect(group[at - 1]?.id ?? 0).toBe(place.after)
  }
})
