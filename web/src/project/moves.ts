// Where a task goes when it is dragged or moved by keys.

import type { Milestone, Task } from '@/api/types'

import { byMilestone, type Row } from './listing'
import { rankBehind } from './order'

/** A place for a task: behind another one (0: first) of a milestone. */
export interface Place {
  milestone: number | null
  after: number
}

/** Where somebody points to: a side of a task, or the heading of a milestone, which means its first place. */
export type Target = { kind: 'before' | 'behind'; task: number } | { kind: 'into'; milestone: number | null }

/** The place that a target means for a task, undefined where it stands there already or the target isn't there. */
export function placeOf(
  id: number,
  target: Target,
  tasks: readonly Task[],
  milestones: readonly Milestone[],
): Place | undefined {
  const groups = byMilestone(tasks, milestones)
  const place = resolve(id, target, groups)
  if (!place) return undefined
  for (const [milestone, group] of groups) {
    const at = group.findIndex((task) => task.id === id)
    if (at < 0) continue
    const after = group[at - 1]?.id ?? 0
    return milestone === place.milestone && after === place.after ? undefined : place
  }
  return undefined
}

function resolve(id: number, target: Target, groups: Map<number | null, Task[]>): Place | undefined {
  if (target.kind === 'into') {
    return groups.has(target.milestone) ? { milestone: target.milestone, after: 0 } : undefined
  }
  if (target.task === id) return undefined
  for (const [milestone, group] of groups) {
    // Siblings without the task itself: it can't stand behind itself.
    const rest = group.filter((task) => task.id !== id)
    const at = rest.findIndex((task) => task.id === target.task)
    if (at < 0) continue
    const after = target.kind === 'behind' ? rest[at] : rest[at - 1]
    return { milestone, after: after?.id ?? 0 }
  }
  return undefined
}

/** The rank of a task at a place, until the server says its own. */
export function rankAt(id: number, place: Place, tasks: readonly Task[], milestones: readonly Milestone[]): number {
  const group = byMilestone(tasks, milestones).get(place.milestone) ?? []
  return rankBehind(
    group.filter((task) => task.id !== id),
    place.after,
  )
}

/** What one step up (−1) or down (1) in the list means for a task: past its neighbour, or over the heading into the next milestone. */
export function step(id: number, direction: -1 | 1, shown: readonly Row[]): Target | undefined {
  let at = shown.findIndex((row) => row.kind === 'task' && row.task.id === id)
  if (at < 0) return undefined
  let own = heading(shown, at)
  for (at += direction; at >= 0 && at < shown.length; at += direction) {
    const row = shown[at]
    if (!row) return undefined
    if (row.kind === 'task') {
      if (direction < 0)
        return own === heading(shown, at)
          ? { kind: 'before', task: row.task.id }
          : { kind: 'behind', task: row.task.id }
      return { kind: 'behind', task: row.task.id }
    }
    if (row.kind === 'milestone') {
      if (direction > 0) return { kind: 'into', milestone: row.milestone?.id ?? null }
      // Upwards, over one's own heading: into the milestone above, which may be empty.
      if (row.milestone?.id !== own) return { kind: 'into', milestone: row.milestone?.id ?? null }
      own = undefined
    }
  }
  return undefined
}

/** The id of the milestone whose heading stands above a row; undefined for the one without. */
function heading(shown: readonly Row[], at: number): number | undefined {
  for (let i = at; i >= 0; i--) {
    const row = shown[i]
    if (row?.kind === 'milestone') return row.milestone?.id
  }
  return undefined
}
