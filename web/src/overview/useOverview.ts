import { computed, onScopeDispose, ref, shallowRef, type ComputedRef, type Ref, type ShallowRef } from 'vue'

import { ApiError, get } from '../api/client'
import type { Overview, PersonDelta, Position, Progress, Summary, Task } from '../api/types'
import { useChannel } from '../live/useChannel'
import { useMe } from '../session'
import { compare, withProgress, withSummary, withTasks } from './state'

const gather = 120 // ms in which changes of a project become one request
const most = 12 // with more projects changed at once, all are read anew

export interface OverviewHandle {
  /** Null until they are there. */
  projects: ComputedRef<readonly Summary[] | null>
  error: ShallowRef<unknown>
  loading: Ref<boolean>
  load: () => Promise<void>
  /** Reads one project anew, soon. */
  refresh: (project: number) => void
  takeProgress: (project: number, progress: Progress) => void
  takeTask: (task: Task) => void
}

/** The overview, kept up to date. */
export function useOverview(): OverviewHandle {
  const me = useMe()
  const projects = shallowRef<readonly Summary[] | null>(null)
  const position = shallowRef<Position | null | undefined>(null)
  const error = shallowRef<unknown>(null)
  const loading = ref(false)
  const known = new Map<number, Task>()
  const changed = new Set<number>()
  let timer: ReturnType<typeof setTimeout> | undefined
  let fetching = false
  const ended = new AbortController()

  async function load(): Promise<void> {
    loading.value = true
    try {
      const overview = await get<Overview>('/api/overview', { signal: ended.signal })
      changed.clear()
      let list: readonly Summary[] = overview.projects
      // What came by push while this was read may be newer.
      for (const { id, progress } of projects.value ?? []) list = withProgress(list, id, progress)
      for (const { id } of list) list = known.size > 0 ? withTasks(list, id, known) : list
      projects.value = [...list].sort(compare)
      position.value = overview.positions[`person:${me.value.id}`]
      error.value = null
    } catch (caught) {
      if (!ended.signal.aborted) error.value = caught
    } finally {
      loading.value = false
    }
  }

  function refresh(project: number): void {
    changed.add(project)
    if (!fetching) timer ??= setTimeout(() => void fetchChanged(), gather)
  }

  async function fetchChanged(): Promise<void> {
    timer = undefined
    fetching = true
    const ids = [...changed]
    changed.clear()
    try {
      if (ids.length > most) await load()
      else await Promise.all(ids.map(fetchOne))
    } finally {
      fetching = false
      if (changed.size > 0 && !ended.signal.aborted) timer ??= setTimeout(() => void fetchChanged(), gather)
    }
  }

  async function fetchOne(id: number): Promise<void> {
    try {
      const overview = await get<Overview>(`/api/overview?project=${id}`, { signal: ended.signal })
      take(
        id,
        overview.projects.find((summary) => summary.id === id),
      )
    } catch (caught) {
      // Any other failure: what is shown stays, and the connection's banner says that it may be old.
      if (caught instanceof ApiError && caught.status === 404) take(id, undefined)
    }
  }

  function take(id: number, summary: Summary | undefined): void {
    if (projects.value) projects.value = withSummary(projects.value, id, summary, known)
  }

  function takeProgress(project: number, progress: Progress): void {
    if (projects.value) projects.value = withProgress(projects.value, project, progress)
  }

  function takeTask(task: Task): void {
    const former = known.get(task.id)
    if (former && former.version >= task.version) return
    known.set(task.id, task)
    if (projects.value) projects.value = withTasks(projects.value, task.project_id, known)
  }

  useChannel<PersonDelta>(() => `person:${me.value.id}`, {
    position,
    onDelta: ({ project_id }) => {
      refresh(project_id)
    },
    onReload: () => void load(),
  })
  onScopeDispose(() => {
    clearTimeout(timer)
    ended.abort()
  })
  void load()

  return { projects: computed(() => projects.value), error, loading, load, refresh, takeProgress, takeTask }
}
