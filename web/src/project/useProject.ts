import { computed, onScopeDispose, readonly, ref, shallowRef, type ComputedRef, type Ref, type ShallowRef } from 'vue'

import { ApiError, get } from '@/api/client'
import type { Position, Progress, Project } from '@/api/types'
import { useChannel, type ChannelState, type Present } from '@/live/useChannel'

import { parseDelta, type Delta } from './delta'
import { begin, reduce, renew, type ProjectState } from './state'

/** `missing` was never there for this person, `removed` and `deleted` happened while they looked. */
export type ProjectStatus = 'loading' | 'ready' | 'failed' | 'missing' | 'removed' | 'deleted'

export interface ProjectHandle {
  status: Readonly<Ref<ProjectStatus>>
  error: Readonly<ShallowRef<ApiError | null>>
  state: Readonly<ShallowRef<ProjectState | null>>
  /** The newest progress that was pushed. */
  progress: Readonly<ShallowRef<Progress | null>>
  /** Whether the snapshot is being read again: what is shown may be behind. */
  renewing: Readonly<Ref<boolean>>
  channel: Readonly<Ref<ChannelState>>
  present: ComputedRef<readonly Present[]>
  /** Takes deltas that this page has by itself: from answers to its requests. */
  take: (...deltas: Delta[]) => void
  load: () => Promise<void>
}

const RETRY = [500, 1_000, 2_000, 5_000] // ms between attempts to read a snapshot again

/** A project, kept up to date while the component lives. */
export function useProject(id: number): ProjectHandle {
  const status = ref<ProjectStatus>('loading')
  const error = shallowRef<ApiError | null>(null)
  const state = shallowRef<ProjectState | null>(null)
  const progress = shallowRef<Progress | null>(null)
  const renewing = ref(false)
  const position = shallowRef<Position | null | undefined>(null)
  const ended = new AbortController()
  let loading: Promise<void> | undefined
  let retry: ReturnType<typeof setTimeout> | undefined
  let failures = 0
  let refusals = 0

  // Pushes are taken once for each frame that is drawn: many tasks completed at once are one change of the page. What this page
  // has by itself is taken at once, and with it what came before.
  let queue: Delta[] = []
  let frame: ReturnType<typeof nextFrame> | undefined
  const receive = (delta: Delta): void => {
    queue.push(delta)
    frame ??= nextFrame(flush)
  }
  const take = (...deltas: Delta[]): void => {
    queue.push(...deltas)
    flush()
  }
  const flush = (): void => {
    frame?.cancel()
    frame = undefined
    const deltas = queue
    queue = []
    const before = state.value
    if (!before || ended.signal.aborted) return
    const next = reduce(before, deltas)
    state.value = next
    if (next.deleted) leave('deleted')
    else if (next.reloads !== before.reloads) void load()
  }

  const leave = (to: 'removed' | 'deleted'): void => {
    status.value = to
    position.value = null
    clearTimeout(retry)
  }

  const load = (): Promise<void> => {
    loading ??= read().finally(() => (loading = undefined))
    return loading
  }

  const read = async (): Promise<void> => {
    clearTimeout(retry)
    if (state.value) renewing.value = true
    else status.value = 'loading'
    try {
      const project = await get<Project>(`/api/projects/${id}`, { signal: ended.signal })
      failures = 0
      error.value = null
      state.value = state.value ? renew(state.value, project) : begin(project)
      takeProgress(project.progress)
      status.value = 'ready'
      // Without one nothing was ever pushed: it follows from now on.
      const from = project.positions[`project:${id}`]
      position.value = from ? { ...from } : undefined
    } catch (caught) {
      if (ended.signal.aborted) return
      fail(caught)
    } finally {
      renewing.value = false
    }
  }

  const fail = (caught: unknown): void => {
    const problem = caught instanceof ApiError ? caught : new ApiError(0, 'The project couldn’t be read. Try again.')
    error.value = problem
    if (problem.status === 404 || problem.status === 403) {
      if (state.value) leave('removed')
      else status.value = 'missing'
    } else if (state.value) {
      // What is shown stays; it is read again by and by.
      retry = setTimeout(() => void load(), RETRY[Math.min(failures++, RETRY.length - 1)])
    } else {
      status.value = 'failed'
    }
  }

  const takeProgress = (newer: Progress): void => {
    if (newer.version > (progress.value?.version ?? -1)) progress.value = newer
  }

  const followed = computed(() => (status.value === 'ready' ? `project:${id}` : null))
  const { state: channel, present } = useChannel<unknown>(followed, {
    position,
    presence: true,
    onDelta: (value) => {
      const delta = parseDelta(value)
      if (delta) receive(delta)
    },
    onReload: () => void load(),
    // Whether one was removed or the project deleted, only the server knows.
    onGone: () => {
      retry = setTimeout(() => void load(), refusals++ === 0 ? 0 : 5_000)
    },
  })
  useChannel<Progress>(
    computed(() => (status.value === 'ready' ? `progress:${id}` : null)),
    { onDelta: takeProgress },
  )

  onScopeDispose(() => {
    ended.abort()
    frame?.cancel()
    clearTimeout(retry)
  })
  void load()

  return {
    status: readonly(status),
    error,
    state,
    progress,
    renewing: readonly(renewing),
    channel,
    present: computed(() => present.value),
    take,
    load,
  }
}

/** Runs something with the next frame, and in a window that isn't drawn all the same. */
function nextFrame(run: () => void): { cancel: () => void } {
  let done = false
  const once = (): void => {
    cancel()
    run()
  }
  const request = requestAnimationFrame(once)
  const timer = setTimeout(once, 100)
  const cancel = (): void => {
    if (done) return
    done = true
    cancelAnimationFrame(request)
    clearTimeout(timer)
  }
  return { cancel }
}
