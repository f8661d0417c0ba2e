import { ref, shallowRef, type Ref, type ShallowRef } from 'vue'

import { get } from '../api/client'
import type { MyInvitation } from '../api/types'

/** The invitations to the address of who is signed in; null until they are there. */
export function useInvitations(): {
  invitations: ShallowRef<MyInvitation[] | null>
  error: ShallowRef<unknown>
  loading: Ref<boolean>
  load: () => Promise<void>
} {
  const invitations = shallowRef<MyInvitation[] | null>(null)
  const error = shallowRef<unknown>(null)
  const loading = ref(false)

  async function load(): Promise<void> {
    loading.value = true
    try {
      invitations.value = (await get<{ invitations: MyInvitation[] }>('/api/invitations')).invitations
      error.value = null
    } catch (caught) {
      error.value = caught
    } finally {
      loading.value = false
    }
  }
  void load()
  return { invitations, error, loading, load }
}
