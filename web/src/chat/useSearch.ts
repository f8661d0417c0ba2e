// Messages that hold certain words, page by page.

import { onScopeDispose, ref, shallowRef, watch, type Ref } from 'vue'

import type { Hit } from '../api/types'
import { requests } from './requests'

export type SearchState = 'idle' | 'searching' | 'ready' | 'failed'

export function useSearch(query: Readonly<Ref<string>>) {
  const state = ref<SearchState>('idle')
  const hits = shallowRef<Hit[]>([])
  const error = shallowRef<unknown>(null)
  const more = ref(false)
  /** What the next page begins before; 0: there is none. */
  let next = 0
  let abort = new AbortController()

  async function page(): Promise<void> {
    const asked = abort
    error.value = null
    try {
      const answer = await requests.search(query.value, next, asked.signal)
      if (asked !== abort) return
      // A message that came meanwhile shifts nothing: pages go by id. One that was shown stays shown once.
      const known = new Set(hits.value.map((hit) => hit.message_id))
      hits.value = [...hits.value, ...answer.hits.filter((hit) => !known.has(hit.message_id))]
      next = answer.next
      state.value = 'ready'
    } catch (caught) {
      if (asked !== abort || asked.signal.aborted) return
      error.value = caught
      if (hits.value.length === 0) state.value = 'failed'
    }
  }

  function search(): Promise<void> {
    abort.abort()
    abort = new AbortController()
    hits.value = []
    next = 0
    more.value = false
    state.value = query.value === '' ? 'idle' : 'searching'
    return query.value === '' ? Promise.resolve() : page()
  }
  watch(query, () => void search(), { immediate: true })
  onScopeDispose(() => {
    abort.abort()
  })

  return {
    state,
    hits,
    error,
    /** A further page is being fetched. */
    more,
    hasMore: () => next > 0,
    search,
    fetchMore: async () => {
      if (more.value || next === 0) return
      more.value = true
      await page()
      more.value = false
    },
  }
}
