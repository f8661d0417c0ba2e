import { ref, shallowRef } from 'vue'

import { ApiError, get } from './api/client'
import type { Demo } from './api/types'

const demo = shallowRef<Demo | null>(null)
const asked = ref(false)

/** The demo, where this server is one; null elsewhere, and until it has answered. */
export function useDemo(): typeof demo {
  if (!asked.value) {
    asked.value = true
    get<Demo>('/api/demo', { anonymous: true }).then(
      (found) => (demo.value = found),
      (error: unknown) => {
        // 404 is a server that isn't a demo; anything else may be answered next time.
        if (!(error instanceof ApiError && error.status === 404)) asked.value = false
      },
    )
  }
  return demo
}
