import { describe, expect, it } from 'vitest'

import type { Summary, Task } from '../api/types'
import { compare, counts, select, withProgress, withSummary, withTasks } from './state'

function summary(id: number, changes: Partial<Summary> = {}): Summary {
  return {
    id,
    name: `Project ${id}`,
    status: 'active',
    role: 'lead',
    due_on: null,
    progress: { done: 0, total: 4, version: 1 },
    waiting: 0,
    waiting_since: null,
    unread: 0,
    outstanding: [],
    customers: [],
    staff: [],
    ...changes,
  }
}
function task(id: number, changes: Partial<Task> = {}): Task {
  return {
    id,
    project_id: 1,
    milestone_id: null,
    title: `Task ${id}`,
    description: '',
    rank: id,
    assignee_id: null,
    due_on: null,
    completed_at: null,
    completed_by: null,
    reopened_at: null,
    reopened_by: null,
    conversation_id: null,
    created_at: '2026-03-01T10:00:00Z',
    version: 1,
    ...changes,
  }
}
const ids = (list: readonly { id: number }[]): number[] => list.map(({ id }) => id)
const known = (...tasks: Task[]): Map<number, Task> => new Map(tasks.map((one) => [one.id, one]))

describe('compare', () => {
  it('puts active ones first, then who has waited longest, then by name', () => {
    const list = [
      summary(1, { status: 'archived', name: 'A' }),
      summary(2, { status: 'finished', name: 'A' }),
      summary(3, { name: 'B' }),
      summary(4, { name: 'A' }),
      summary(5, { name: 'Z', waiting: 1, waiting_since: '2026-03-02T10:00:00Z' }),
      summary(6, { name: 'Z', waiting: 1, waiting_since: '2026-03-01T10:00:00.123Z' }),
    ]
    expect(ids(list.sort(compare))).toEqual([6, 5, 4, 3, 2, 1])
  })
})

describe('withSummary', () => {
  it('takes a new one, changes it, and takes it away', () => {
    let list = withSummary([summary(2, { name: 'B' })], 1, summary(1, { name: 'C' }))
    expect(ids(list)).toEqual([2, 1])
    list = withSummary(list, 1, summary(1, { name: 'A', unread: 3 }))
    expect(ids(list)).toEqual([1, 2])
    expect(list[0]!.unread).toBe(3)
    expect(ids(withSummary(list, 1, undefined))).toEqual([2])
  })

  it('keeps progress that came by push while it was read', () => {
    const list = [summary(1, { progress: { done: 3, total: 4, version: 9 } })]
    const next = withSummary(list, 1, summary(1, { progress: { done: 2, total: 4, version: 8 } }))
    expect(next[0]!.progress).toEqual({ done: 3, total: 4, version: 9 })
  })

  it('doesn’t bring back a task that a push has completed meanwhile', () => {
    const done = task(5, { version: 3, completed_at: '2026-03-01T10:00:00Z' })
    const next = withSummary([], 1, summary(1, { outstanding: [task(5, { version: 2 }), task(6)] }), known(done))
    expect(ids(next[0]!.outstanding)).toEqual([6])
  })

  it('believes an answer that is newer than the push', () => {
    const done = task(5, { version: 3, completed_at: '2026-03-01T10:00:00Z' })
    const next = withSummary([], 1, summary(1, { outstanding: [task(5, { version: 4 })] }), known(done))
    expect(ids(next[0]!.outstanding)).toEqual([5])
  })
})

describe('withProgress', () => {
  it('takes what is newer only', () => {
    const list = [summary(1, { progress: { done: 2, total: 4, version: 5 } })]
    expect(withProgress(list, 1, { done: 1, total: 4, version: 5 })).toBe(list)
    expect(withProgress(list, 1, { done: 1, total: 4, version: 4 })).toBe(list)
    expect(withProgress(list, 2, { done: 1, total: 4, version: 9 })).toBe(list)
    expect(withProgress(list, 1, { done: 4, total: 4, version: 6 })[0]!.progress.done).toBe(4)
  })
})

describe('withTasks', () => {
  it('takes completed and moved ones away, and changes others', () => {
    const list = [summary(1, { outstanding: [task(1), task(2), task(3), task(4, { version: 7 })] })]
    const next = withTasks(
      list,
      1,
      known(
        task(1, { version: 2, completed_at: '2026-03-01T10:00:00Z' }),
        task(2, { version: 2, project_id: 9 }),
        task(3, { version: 2, title: 'Renamed' }),
        task(4, { version: 6, title: 'Too old' }),
      ),
    )
    expect(next[0]!.outstanding.map(({ title }) => title)).toEqual(['Renamed', 'Task 4'])
  })
})

describe('select and counts', () => {
  const list = [
    summary(1, { name: 'Müller: new kitchen', waiting: 2 }),
    summary(2, {
      name: 'Website',
      unread: 1,
      customers: [{ id: 9, name: 'Tom Hughes', company: 'Hughes Cycles', staff: false }],
    }),
    summary(3, { status: 'finished', waiting: 1 }),
    summary(4, { status: 'archived', waiting: 1, unread: 1 }),
  ]

  it('counts what each filter shows', () => {
    expect(counts(list)).toEqual({ active: 2, waiting: 2, unread: 1, finished: 1, archived: 1 })
    expect(ids(select(list, 'waiting', ''))).toEqual([1, 3])
  })

  it.each([
    ['muller KITCHEN', [1]],
    ['cycles', [2]],
    ['tom website', [2]],
    ['tom kitchen', []],
    ['  ', [1, 2]],
  ])('finds %j', (query, found) => {
    expect(ids(select(list, 'active', query))).toEqual(found)
  })
})
