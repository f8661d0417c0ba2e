// What the list of tasks shows: rows of a filter and a search, milestone by milestone.

import type { Milestone, Task } from '@/api/types'

export type Filter = 'outstanding' | 'mine' | 'done' | 'all'

export const FILTERS: readonly Filter[] = ['outstanding', 'mine', 'done', 'all']

/** Reads a filter from an address. */
export function parseFilter(value: unknown): Filter {
  return FILTERS.find((filter) => filter === value) ?? 'outstanding'
}

export interface Count {
  done: number
  total: number
}

export type Row =
  | { kind: 'milestone'; key: string; milestone: Milestone | null; count: Count; tasks: number }
  | { kind: 'task'; key: string; task: Task; place: number }
  | { kind: 'new'; key: string; milestone: Milestone | null }

export interface Choice {
  filter: Filter
  search: string
  me: number
  /** Tasks that have just been completed and stay a moment, so that one sees them go. */
  lingering: ReadonlySet<number>
  /** Whether tasks can be added, so that each milestone ends with a row for it. */
  editable: boolean
}

/** Tells whether a filter lets a task through, whatever the search. */
export function passes(task: Task, { filter, me, lingering }: Choice): boolean {
  const done = task.completed_at !== null && !lingering.has(task.id)
  switch (filter) {
    case 'outstanding':
      return !done
    case 'mine':
      return !done && task.assignee_id === me
    case 'done':
      return task.completed_at !== null
    case 'all':
      return true
  }
}

/** How many tasks each filter shows. */
export function counts(tasks: readonly Task[], me: number): Record<Filter, number> {
  const result = { outstanding: 0, mine: 0, done: 0, all: tasks.length }
  for (const task of tasks) {
    if (task.completed_at !== null) result.done++
    else {
      result.outstanding++
      if (task.assignee_id === me) result.mine++
    }
  }
  return result
}

/** How far a project is by its tasks. */
export function count(tasks: readonly Task[]): Count {
  let done = 0
  for (const task of tasks) if (task.completed_at !== null) done++
  return { done, total: tasks.length }
}

/** The tasks of each milestone in their order; those without one, or whose milestone isn't known, under null. */
export function byMilestone(tasks: readonly Task[], milestones: readonly Milestone[]): Map<number | null, Task[]> {
  const groups = new Map<number | null, Task[]>(milestones.map((one) => [one.id, []]))
  groups.set(null, [])
  for (const task of tasks) (groups.get(task.milestone_id) ?? groups.get(null))?.push(task)
  return groups
}

/** The rows of the list. Within a milestone, what is outstanding comes first. */
export function rows(tasks: readonly Task[], milestones: readonly Milestone[], choice: Choice): Row[] {
  const groups = byMilestone(tasks, milestones)
  const words = choice.search.trim().toLocaleLowerCase().split(/\s+/).filter(Boolean)
  const found = (task: Task) => {
    if (words.length === 0) return true
    const title = task.title.toLocaleLowerCase()
    return words.every((word) => title.includes(word))
  }
  const result: Row[] = []
  let place = 0
  for (const milestone of [...milestones, null]) {
    const group = groups.get(milestone?.id ?? null) ?? []
    const shown = group.filter((task) => passes(task, choice) && found(task))
    const open = shown.filter((task) => task.completed_at === null || choice.lingering.has(task.id))
    const done = shown.filter((task) => task.completed_at !== null && !choice.lingering.has(task.id))
    // Tasks without a milestone need no heading where there are no milestones to tell them from.
    const headed = milestone !== null || (milestones.length > 0 && group.length > 0)
    const addable =
      choice.editable &&
      words.length === 0 &&
      choice.filter !== 'done' &&
      (milestone !== null || milestones.length === 0 || group.length > 0)
    if (headed && (shown.length > 0 || (words.length === 0 && choice.filter !== 'mine' && choice.filter !== 'done'))) {
      result.push({
        kind: 'milestone',
        key: `m${milestone?.id ?? 0}`,
        milestone,
        count: count(group),
        tasks: shown.length,
      })
    }
    for (const task of [...open, ...done]) result.push({ kind: 'task', key: `t${task.id}`, task, place: ++place })
    if (addable) result.push({ kind: 'new', key: `n${milestone?.id ?? 0}`, milestone })
  }
  return result
}
