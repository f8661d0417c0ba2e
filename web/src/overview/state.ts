// What the overview shows, and how it changes: pure functions over the list of summaries.

import type { Progress, Summary, Task } from '../api/types'

/** The newest that is known of tasks, by id: an answer that was read before a push must not bring back what the push has changed. */
export type KnownTasks = ReadonlyMap<number, Task>

const names = new Intl.Collator(undefined, { numeric: true }) // “Shop 2” before “Shop 10”
const statusOrder = { active: 0, finished: 1, archived: 2 } as const

/** Active first, then those with the oldest unanswered question, then by name. */
export function compare(a: Summary, b: Summary): number {
  return (
    statusOrder[a.status] - statusOrder[b.status] ||
    waitingOrder(a) - waitingOrder(b) ||
    names.compare(a.name, b.name) ||
    a.id - b.id
  )
}

function waitingOrder({ waiting_since }: Summary): number {
  return waiting_since === null ? Number.MAX_SAFE_INTEGER : Date.parse(waiting_since)
}

/** Puts what the server says of one project in its place; `undefined` is that the person isn't in it any more. */
export function withSummary(
  list: readonly Summary[],
  id: number,
  next: Summary | undefined,
  known: KnownTasks = new Map(),
): Summary[] {
  const former = list.find((summary) => summary.id === id)
  const others = list.filter((summary) => summary.id !== id)
  if (!next) return others
  const progress = former && former.progress.version > next.progress.version ? former.progress : next.progress
  return [...others, { ...next, progress, outstanding: newest(next.outstanding, known) }].sort(compare)
}

/** Takes a project's progress, unless a newer one is there. */
export function withProgress(list: readonly Summary[], id: number, progress: Progress): readonly Summary[] {
  const former = list.find((summary) => summary.id === id)
  if (!former || former.progress.version >= progress.version) return list
  return list.map((summary) => (summary.id === id ? { ...summary, progress } : summary))
}

/** Takes what has become of tasks that are shown. One that is new to the list comes with its summary, which knows the order. */
export function withTasks(list: readonly Summary[], id: number, known: KnownTasks): readonly Summary[] {
  return list.map((summary) =>
    summary.id === id ? { ...summary, outstanding: newest(summary.outstanding, known) } : summary,
  )
}

/** The tasks that are still to be done in the project, each as it is known last. */
function newest(tasks: readonly Task[], known: KnownTasks): Task[] {
  return tasks.flatMap((task) => {
    const other = known.get(task.id)
    const last = other && other.version > task.version ? other : task
    return last.completed_at === null && last.project_id === task.project_id ? [last] : []
  })
}

export type Filter = 'active' | 'waiting' | 'unread' | 'finished' | 'archived'

const filters: Record<Filter, (summary: Summary) => boolean> = {
  active: ({ status }) => status === 'active',
  waiting: ({ status, waiting }) => status !== 'archived' && waiting > 0,
  unread: ({ status, unread }) => status !== 'archived' && unread > 0,
  finished: ({ status }) => status === 'finished',
  archived: ({ status }) => status === 'archived',
}

/** How many projects each filter shows. */
export function counts(list: readonly Summary[]): Record<Filter, number> {
  const count = (filter: Filter): number => list.filter(filters[filter]).length
  return {
    active: count('active'),
    waiting: count('waiting'),
    unread: count('unread'),
    finished: count('finished'),
    archived: count('archived'),
  }
}

/** Those that a filter shows and whose name, customers or customers' companies hold all the words. */
export function select(list: readonly Summary[], filter: Filter, query: string): Summary[] {
  const words = fold(query).split(/\s+/).filter(Boolean)
  return list.filter(
    (summary) =>
      filters[filter](summary) && words.every((word) => searched(summary).some((text) => text.includes(word))),
  )
}

function searched({ name, customers }: Summary): string[] {
  return [name, ...customers.flatMap((person) => [person.name, person.company])].map(fold)
}

/** Without accents and capitals: "Müller" is found by "muller". */
function fold(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase()
}
