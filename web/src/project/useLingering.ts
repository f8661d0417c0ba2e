import { onScopeDispose, shallowRef, watch, type Ref, type ShallowRef } from 'vue'

import type { Task } from '@/api/types'

/** How long a completed task stays in a list of what is outstanding, in ms: to be seen going. */
export const LINGER = 1_500
/** Above this many at once nothing lingers: that was no click. */
const MANY = 20

/** The tasks that were completed a moment ago, by whomever. */
export function useLingering(tasks: Readonly<Ref<readonly Task[]>>): Readonly<ShallowRef<ReadonlySet<number>>> {
  const lingering = shallowRef<ReadonlySet<number>>(new Set())
  const timers = new Map<number, ReturnType<typeof setTimeout>>()

  const go = (id: number): void => {
    clearTimeout(timers.get(id))
    timers.delete(id)
    lingering.value = new Set([...lingering.value].filter((one) => one !== id))
  }

  watch(
    tasks,
    (now, before) => {
      const outstanding = new Set<number>()
      for (const task of before) if (task.completed_at === null) outstanding.add(task.id)
      const done: number[] = []
      for (const task of now) {
        if (task.completed_at === null) {
          if (timers.has(task.id)) go(task.id)
        } else if (outstanding.has(task.id)) done.push(task.id)
      }
      if (done.length === 0 || done.length > MANY) return
      lingering.value = new Set([...lingering.value, ...done])
      for (const id of done) {
        clearTimeout(timers.get(id))
        timers.set(
          id,
          setTimeout(() => {
            go(id)
          }, LINGER),
        )
      }
    },
    // At once: a list that was drawn in between would take the task out and put it back.
    { flush: 'sync' },
  )
  onScopeDispose(() => {
    for (const timer of timers.values()) clearTimeout(timer)
  })
  return lingering
}
