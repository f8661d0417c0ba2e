import { ref, type Ref } from 'vue'

import type { Row } from './listing'

/** Under which milestone a task is being typed: undefined under none of them, null under the heading for tasks without one. */
export type Adding = Ref<number | null | undefined>

export function useAdding(): {
  adding: Adding
  begin: (shown: readonly Row[], near: number | null, reveal: (key: string) => void) => boolean
  end: (milestone: number | null) => void
} {
  const adding: Adding = ref(undefined)
  return {
    adding,
    /** Begins below the task that is near, or at the first place where there is one. */
    begin: (shown, near, reveal) => {
      const from = shown.findIndex((row) => row.kind === 'task' && row.task.id === near)
      const row =
        shown.slice(Math.max(0, from)).find(({ kind }) => kind === 'new') ?? shown.find(({ kind }) => kind === 'new')
      if (row?.kind !== 'new') return false
      adding.value = row.milestone?.id ?? null
      reveal(row.key)
      return true
    },
    end: (milestone) => {
      if (adding.value === milestone) adding.value = undefined
    },
  }
}
