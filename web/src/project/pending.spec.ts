import { expect, test } from 'vitest'

import { aProject, aTask, dice } from './fixture'
import { byRank } from './order'
import { overlay, type Change, type Pending } from './pending'
import { begin, reduce } from './state'

const at = '2026-03-02T10:00:00Z'
const pending = (...changes: Change[]): Pending[] => changes.map((change, key) => ({ key, change, state: 'sending' }))

test('nothing pending is the very list', () => {
  const tasks = [aTask({ id: 1 })]
  expect(overlay(tasks, [])).toBe(tasks)
})

test('what is pending lies over the server’s state and leaves it alone', () => {
  const tasks = [aTask({ id: 1 }), aTask({ id: 2 }), aTask({ id: 3 })]
  const seen = overlay(
    tasks,
    pending(
      { kind: 'complete', id: 1, by: 7, at },
      { kind: 'edit', id: 1, edit: { title: 'Sign it', rank: 9999 } },
      { kind: 'delete', id: 2 },
    ),
  )
  expect(seen.map(({ id, title, completed_by }) => [id, title, completed_by])).toEqual([
    [3, 'Task 3', null],
    [1, 'Sign it', 7],
  ])
  expect(tasks[0]?.completed_at).toBeNull()
})

test('what others do meanwhile is seen: fields one hasn’t touched, and completing first', () => {
  const mine = pending({ kind: 'complete', id: 1, by: 7, at }, { kind: 'edit', id: 2, edit: { title: 'Mine' } })
  let state = begin(aProject({ tasks: [aTask({ id: 1 }), aTask({ id: 2 })] }))
  state = reduce(state, [
    { type: 'task', task: aTask({ id: 1, version: 2, completed_at: '2026-03-01T10:00:00Z', completed_by: 8 }) },
    { type: 'task', task: aTask({ id: 2, version: 2, title: 'Theirs', assignee_id: 8 }) },
  ])
  const seen = overlay(state.project.tasks, mine)
  expect(seen[0]).toMatchObject({ completed_by: 8, completed_at: '2026-03-01T10:00:00Z' })
  expect(seen[1]).toMatchObject({ title: 'Mine', assignee_id: 8 })
  // Refused: what the server has is what is there.
  expect(overlay(state.project.tasks, [])[1]).toMatchObject({ title: 'Theirs' })
})

test('an edit of a task that somebody deletes brings nothing back', () => {
  let state = begin(aProject({ tasks: [aTask({ id: 1 })] }))
  state = reduce(state, [{ type: 'task.deleted', id: 1, version: 2 }])
  expect(overlay(state.project.tasks, pending({ kind: 'edit', id: 1, edit: { title: 'Mine' } }))).toEqual([])
})

test('a new task whose push comes before its answer stands there once', () => {
  const made = aTask({ id: -1, title: 'Call', rank: 5000 })
  const twice = pending(
    { kind: 'create', task: made, newest: 3 },
    { kind: 'create', task: { ...made, id: -2 }, newest: 3 },
  )
  const known = [aTask({ id: 3, title: 'Call' })]
  expect(overlay(known, twice).map(({ id }) => id)).toEqual([3, -2, -1])
  const one = [...known, aTask({ id: 4, title: 'Call', rank: 5000 })]
  expect(overlay(one, twice).map(({ id }) => id)).toEqual([3, -2, 4])
  const both = [...one, aTask({ id: 5, title: 'Call', rank: 5000 })]
  expect(overlay(both, twice).map(({ id }) => id)).toEqual([3, 4, 5])
})

test('random actions and pushes: the order holds, and once all is answered the server’s state shows', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = dice(seed)
    let state = begin(aProject({ tasks: Array.from({ length: 8 }, (_, i) => aTask({ id: i + 1, rank: random(5) })) }))
    let waiting: Pending[] = []
    let version = 1
    for (let i = 0; i < 60; i++) {
      const id = 1 + random(8)
      const change: Change = [
        { kind: 'complete', id, by: 7, at } as const,
        { kind: 'reopen', id, by: 7, at } as const,
        { kind: 'edit', id, edit: { rank: random(5) } } as const,
        { kind: 'delete', id } as const,
        { kind: 'create', task: aTask({ id: -1 - i, rank: random(5) }), newest: 100 } as const,
      ][random(5)]!
      if (random(3) > 0) waiting = [...waiting, { key: i, change, state: 'sending' }]
      else if (random(2) > 0) waiting = waiting.slice(1)
      else {
        const task = aTask({ id, version: ++version, rank: random(5), completed_at: random(2) ? at : null })
        state = reduce(state, [{ type: 'task', task }])
      }
      const seen = overlay(state.project.tasks, waiting)
      expect([...seen].sort(byRank)).toEqual(seen)
      expect(new Set(seen.map((task) => task.id)).size).toBe(seen.length)
      for (const { change: one } of waiting.slice(-1)) {
        const shown = seen.find((task) => task.id === ('id' in one ? one.id : one.task.id))
        if (one.kind === 'delete') expect(shown).toBeUndefined()
        if (one.kind === 'complete' && shown) expect(shown.completed_at).not.toBeNull()
        if (one.kind === 'reopen' && shown) expect(shown.completed_at).toBeNull()
      }
    }
    expect(overlay(state.project.tasks, [])).toEqual(state.project.tasks)
  }
})
