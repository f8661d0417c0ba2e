import {
  computed,
  onScopeDispose,
  readonly,
  ref,
  shallowRef,
  watch,
  type ComputedRef,
  type Ref,
  type ShallowRef,
} from 'vue'

import { ApiError, get } from '@/api/client'
import type { Invitation, Member, Overview, Person, Role, Status } from '@/api/types'
import { useChannel } from '@/live/useChannel'
import { parseDelta } from '@/project/delta'

/** Who takes part in a project. Invitations are told to staff only, colleagues that could be added to leads. */
export interface People {
  members: Member[]
  invitations?: Invitation[] | null
  colleagues?: Person[] | null
}

/** What the page needs to know of the project itself. */
export interface Setting {
  name: string
  status: Status
  role: Role
}

export type PeopleStatus = 'loading' | 'ready' | 'failed' | 'missing' | 'removed' | 'deleted'

export interface PeopleHandle {
  status: Readonly<Ref<PeopleStatus>>
  error: Readonly<ShallowRef<unknown>>
  people: Readonly<ShallowRef<People>>
  setting: Readonly<ShallowRef<Setting>>
  present: ComputedRef<ReadonlySet<number>>
  load: () => Promise<void>
}

/** How often it looks whether a mail that waits has gone, in ms. */
const LOOK = 4_000

/** The people of a project, read again whenever somebody comes, goes or becomes something else. */
export function usePeople(id: number): PeopleHandle {
  const status = ref<PeopleStatus>('loading')
  const error = shallowRef<unknown>(null)
  const people = shallowRef<People>({ members: [] })
  const setting = shallowRef<Setting>({ name: '', status: 'active', role: 'customer' })
  const ended = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  let loading: Promise<void> | undefined
  let again = false

  /** Reads all. Asked for while it reads, it reads once more: the answer that is under way may be older. */
  const load = (): Promise<void> => {
    if (loading) again = true
    loading ??= read().finally(() => {
      loading = undefined
      if (again && !ended.signal.aborted) {
        again = false
        void load()
      }
    })
    return loading
  }

  const read = async (): Promise<void> => {
    clearTimeout(timer)
    const { signal } = ended
    try {
      const [overview, all] = await Promise.all([
        get<Overview>(`/api/overview?project=${id}`, { signal }),
        get<People>(`/api/projects/${id}/people`, { signal }),
      ])
      const summary = overview.projects.find((one) => one.id === id)
      if (!summary) throw new ApiError(404, 'You don’t take part in this project.')
      setting.value = { name: summary.name, status: summary.status, role: summary.role }
      people.value = all
      error.value = null
      status.value = 'ready'
      if (all.invitations?.some(({ mail }) => mail === 'waiting')) timer = setTimeout(() => void load(), LOOK)
    } catch (caught) {
      if (signal.aborted) return
      const gone = caught instanceof ApiError && (caught.status === 404 || caught.status === 403)
      if (gone) status.value = setting.value.name ? 'removed' : 'missing'
      else if (status.value !== 'ready') {
        error.value = caught
        status.value = 'failed'
      } else timer = setTimeout(() => void load(), LOOK)
    }
  }

  const { state, present } = useChannel<unknown>(`project:${id}`, {
    presence: true,
    onDelta: (value) => {
      const delta = parseDelta(value)
      if (delta?.type === 'project.deleted') status.value = 'deleted'
      else if (delta?.type === 'member' || delta?.type === 'member.removed' || delta?.type === 'project') void load()
    },
    onReload: () => void load(),
    onGone: () => {
      if (status.value !== 'deleted') void load()
    },
  })
  // Followed from now on and not from a snapshot: so it is read once following has begun, and each time it begins again.
  watch(state, (now) => {
    if (now === 'subscribed') void load()
  })
  void load()

  onScopeDispose(() => {
    ended.abort()
    clearTimeout(timer)
  })

  return {
    status: readonly(status),
    error,
    people,
    setting,
    present: computed(() => new Set(present.value.map((one) => one.id))),
    load,
  }
}
