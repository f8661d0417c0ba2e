import { computed, onScopeDispose, shallowRef, type ComputedRef } from 'vue'

import { ApiError, errorText, post } from '../api/client'
import type { Task } from '../api/types'
import { announce } from '../ui/announce'
import { useToasts } from '../ui/toasts'
import { useOverviewHandle } from './key'

const linger = 900 // ms that a completed task stays, ticked

/** Completing tasks where they are listed: shown at once, taken back where it is refused. */
export function useCompleting(): {
  /** Those that are ticked and not gone yet, by id. */
  completing: ComputedRef<ReadonlyMap<number, Task>>
  complete: (task: Task) => Promise<void>
} {
  const { takeTask, refresh } = useOverviewHandle()
  const { undoable, push } = useToasts()
  const completing = shallowRef<ReadonlyMap<number, Task>>(new Map())
  const timers = new Set<ReturnType<typeof setTimeout>>()

  function untick(id: number): void {
    completing.value = new Map([...completing.value].filter(([key]) => key !== id))
  }

  async function complete(task: Task): Promise<void> {
    if (completing.value.has(task.id)) return
    completing.value = new Map(completing.value).set(task.id, task)
    try {
      const done = await post<Task>(`/api/tasks/${task.id}/complete`)
      announce(`“${task.title}” is done.`)
      undoable(`“${task.title}” is done`, () => void reopen(done))
      const timer = setTimeout(() => {
        timers.delete(timer)
        takeTask(done)
        untick(task.id)
        refresh(task.project_id)
      }, linger)
      timers.add(timer)
    } catch (error) {
      untick(task.id)
      push(`“${task.title}” isn’t marked as done`, { kind: 'error', detail: errorText(error) })
      if (error instanceof ApiError && [404, 409].includes(error.status)) refresh(task.project_id)
    }
  }

  async function reopen(task: Task): Promise<void> {
    try {
      takeTask(await post<Task>(`/api/tasks/${task.id}/reopen`))
      refresh(task.project_id)
      announce(`“${task.title}” is open again.`)
    } catch (error) {
      push(`“${task.title}” is still done`, { kind: 'error', detail: errorText(error) })
    }
  }

  onScopeDispose(() => {
    for (const timer of timers) clearTimeout(timer)
  })
  return { completing: computed(() => completing.value), complete }
}
