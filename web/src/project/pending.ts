// What somebody has done and the server hasn't answered yet. It lies over the server's state and never in it: when an answer or
// somebody else's change comes, what was there before is simply what is there.

import type { Task } from '@/api/types'

import { merge } from './order'

/** What of a task can be edited at once. */
export type TaskEdit = Partial<Pick<Task, 'title' | 'description' | 'milestone_id' | 'assignee_id' | 'due_on' | 'rank'>>

export type Change =
  | { kind: 'complete'; id: number; by: number; at: string }
  | { kind: 'reopen'; id: number; by: number; at: string }
  | { kind: 'edit'; id: number; edit: TaskEdit }
  | { kind: 'delete'; id: number }
  /** A task that has no id yet stands under a negative one. `newest` is the highest id that was known when it was sent. */
  | { kind: 'create'; task: Task; newest: number }

export interface Pending {
  readonly key: number
  readonly change: Change
  /** waiting: for the connection; undoable: nothing was sent yet, so that it can be taken back. */
  readonly state: 'sending' | 'waiting' | 'undoable'
}

/** The id of the task that a change is about. */
export function subject(change: Change): number {
  return change.kind === 'create' ? change.task.id : change.id
}

/** The tasks as somebody sees them: the server's, with what is pending over them. The order is by rank and id. */
export function overlay(tasks: readonly Task[], pending: readonly Pending[]): readonly Task[] {
  if (pending.length === 0) return tasks
  const concerned = new Set(pending.map(({ change }) => subject(change)))
  const at = new Map<number, Task>()
  for (const task of tasks) if (concerned.has(task.id)) at.set(task.id, task)
  const taken = new Set<number>()
  for (const { change } of pending) {
    const id = subject(change)
    const task = at.get(id)
    if (change.kind === 'create') {
      // Its push may come before the answer to its request: then it is there already, and isn't shown twice.
      const twin = arrived(tasks, change.task, change.newest, taken)
      if (twin) taken.add(twin.id)
      else at.set(id, change.task)
    } else if (task) {
      const changed = apply(task, change)
      if (changed) at.set(id, changed)
      else at.delete(id)
    }
  }
  return merge(tasks, [...at.values()], concerned)
}

function apply(task: Task, change: Exclude<Change, { kind: 'create' }>): Task | undefined {
  switch (change.kind) {
    case 'complete':
      // Somebody else was first: what they did stays.
      if (task.completed_at !== null) return task
      return { ...task, completed_at: change.at, completed_by: change.by }
    case 'reopen':
      if (task.completed_at === null) return task
      return { ...task, completed_at: null, completed_by: null, reopened_at: change.at, reopened_by: change.by }
    case 'edit':
      return { ...task, ...change.edit }
    case 'delete':
      return undefined
  }
}

function arrived(tasks: readonly Task[], made: Task, newest: number, taken: ReadonlySet<number>): Task | undefined {
  return tasks.find(
    (task) =>
      task.id > newest && !taken.has(task.id) && task.title === made.title && task.milestone_id === made.milestone_id,
  )
}
