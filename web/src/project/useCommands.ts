import type { ComputedRef, Ref } from 'vue'

import { announce } from '@/ui/announce'
import { useToasts } from '@/ui/toasts'

import type { ProjectContext } from './context'
import type { Row } from './listing'
import { placeOf, step, type Target } from './moves'
import type { Command } from './shortcuts'

interface Sources extends Pick<ProjectContext, 'project' | 'tasks' | 'can' | 'offline' | 'me' | 'nameOf'> {
  /** Tasks that were completed a moment ago, by whomever. */
  lingering: Readonly<Ref<ReadonlySet<number>>>
  shown: ComputedRef<readonly Row[]>
  /** The task that keys are for. */
  active: Ref<number | null>
  open: (id: number) => void
  go: (to: 'next' | 'previous' | 'first' | 'last') => boolean
  focusOn: (id: number) => void
  reveal: (key: string) => void
  begin: (shown: readonly Row[], near: number | null, reveal: (key: string) => void) => boolean
}

export interface Commands {
  toggle: (id: number) => void
  move: (id: number, target: Target | undefined) => void
  create: (title: string, milestone: number | null) => void
  /** Does what a key means, and answers whether it meant something here. */
  run: (meant: Command) => boolean
}

/** How soon, in ms, a second click on the same task is one of a double click. */
export const TWICE = 400

/** What can be done in the list, by pointer and by keys, and what is said of it to those who don't see it. */
export function useCommands(sources: Sources): Commands {
  const { project, tasks, can, offline, me, nameOf, lingering, shown, active, open, go, focusOn, reveal, begin } =
    sources
  const { push } = useToasts()
  const find = (id: number) => tasks.tasks.value.find((one) => one.id === id)
  let last = { id: 0, at: 0 }

  const toggle = (id: number): void => {
    const task = find(id)
    if (!task || id < 0 || !can.value.complete) return
    const now = performance.now()
    if (last.id === id && now - last.at < TWICE) return
    last = { id, at: now }
    // Who wanted to complete what somebody else completed that very moment doesn't want to reopen it.
    if (task.completed_at !== null && task.completed_by !== me.value.id && lingering.value.has(id)) {
      push(`${nameOf(task.completed_by)} has just completed “${task.title}”`)
      return
    }
    if (task.completed_at === null) {
      tasks.complete(id)
      announce(`“${task.title}” is done.`)
    } else tasks.reopen(id)
  }

  const move = (id: number, target: Target | undefined): void => {
    if (!can.value.edit || offline.value || !target || id < 0) return
    const { milestones } = project.value
    const place = placeOf(id, target, tasks.tasks.value, milestones)
    if (!place) return
    const from = find(id)?.milestone_id
    tasks.move(id, place)
    const into = milestones.find((one) => one.id === place.milestone)?.name ?? 'no milestone'
    announce(from === place.milestone ? `Moved within ${into}.` : `Moved to ${into}.`)
  }

  return {
    toggle,
    move,
    create: (title, milestone) => {
      tasks.create(title, milestone)
      // The place to type the next one moves down by a row; it stays in sight.
      reveal(`n${milestone ?? 0}`)
    },
    run: (meant) => {
      const id = active.value
      switch (meant) {
        case 'next':
        case 'previous':
        case 'first':
        case 'last':
          return go(meant)
        case 'toggle':
          if (id === null) return false
          toggle(id)
          return true
        case 'open':
          if (id === null) return false
          open(id)
          return true
        case 'up':
        case 'down':
          if (id === null) return false
          move(id, step(id, meant === 'up' ? -1 : 1, shown.value))
          focusOn(id)
          return true
        case 'new':
          return begin(shown.value, id, reveal)
        case 'search':
          return false
      }
    },
  }
}
