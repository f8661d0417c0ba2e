import { shallowRef } from 'vue'

import type { Row } from './listing'
import type { Target } from './moves'

export interface Drag {
  start: (event: DragEvent) => void
  over: (event: DragEvent) => void
  leave: (event: DragEvent) => void
  drop: (event: DragEvent) => void
  end: () => void
  /** The class of a row: where the task would go, and the task itself. */
  mark: (row: Row) => 'before' | 'behind' | 'into' | 'dragged' | undefined
}

/** Dragging tasks by their rows. */
export function useDrag(dropped: (id: number, target: Target) => void): Drag {
  const dragged = shallowRef<number | null>(null)
  const target = shallowRef<Target | null>(null)

  const end = (): void => {
    dragged.value = null
    target.value = null
  }

  return {
    start: (event) => {
      const row = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-task]') : null
      if (!row || !event.dataTransfer) return
      event.dataTransfer.effectAllowed = 'move'
      event.dataTransfer.setData('text/plain', row.querySelector('[data-title]')?.textContent.trim() ?? '')
      // After this event: a browser takes the picture of what is dragged now.
      const id = Number(row.dataset.task)
      setTimeout(() => (dragged.value = id))
    },
    over: (event) => {
      if (dragged.value === null) return
      const found = targetAt(event)
      if (!found) return
      event.preventDefault()
      const now = target.value
      if (!now || JSON.stringify(now) !== JSON.stringify(found)) target.value = found
    },
    leave: (event) => {
      const to = event.relatedTarget
      if (to instanceof Node && event.currentTarget instanceof Node && event.currentTarget.contains(to)) return
      target.value = null
    },
    drop: (event) => {
      const id = dragged.value
      const to = targetAt(event)
      end()
      if (id === null || !to) return
      event.preventDefault()
      dropped(id, to)
    },
    end,
    mark: (row) => {
      const to = target.value
      if (row.kind === 'task') {
        if (row.task.id === dragged.value) return 'dragged'
        return to && to.kind !== 'into' && to.task === row.task.id ? to.kind : undefined
      }
      return row.kind === 'milestone' && to?.kind === 'into' && to.milestone === (row.milestone?.id ?? null)
        ? 'into'
        : undefined
    },
  }
}

function targetAt(event: DragEvent): Target | undefined {
  const row = event.target instanceof Element ? event.target.closest<HTMLElement>('[role=listitem]') : null
  if (!row) return undefined
  if (row.dataset.milestone !== undefined) return { kind: 'into', milestone: Number(row.dataset.milestone) || null }
  const task = Number(row.querySelector<HTMLElement>('[data-task]')?.dataset.task)
  if (!(task > 0)) return undefined
  const { top, height } = row.getBoundingClientRect()
  return { kind: event.clientY < top + height / 2 ? 'before' : 'behind', task }
}
