import {
  computed,
  inject,
  onScopeDispose,
  provide,
  ref,
  watch,
  type ComputedRef,
  type InjectionKey,
  type Ref,
} from 'vue'

import type { Me, Person, Project } from '@/api/types'
import { useConnection } from '@/live/connection'
import type { Present } from '@/live/useChannel'
import { useMe } from '@/session'
import { useToasts } from '@/ui/toasts'

import type { Delta } from './delta'
import { count, type Count } from './listing'
import { permissions, type Permissions } from './permissions'
import type { ProjectHandle } from './useProject'
import { useTasks, type Tasks } from './useTasks'

/** What the parts of a project's page share. */
export interface ProjectContext {
  /** As somebody sees it: with what they have done and the server hasn't answered yet. */
  project: ComputedRef<Project>
  me: { readonly value: Me }
  can: ComputedRef<Permissions>
  tasks: Tasks
  progress: ComputedRef<Count>
  present: ComputedRef<readonly Present[]>
  /** Everybody whose name the project knows. */
  people: ComputedRef<ReadonlyMap<number, Person>>
  nameOf: (id: number | null) => string
  /** Why what needs the server can't be done now, '' where it can. */
  offline: Readonly<Ref<string>>
  take: (...deltas: Delta[]) => void
}

const key: InjectionKey<ProjectContext> = Symbol('project')

export function useProjectContext(): ProjectContext {
  const context = inject(key)
  if (!context) throw new Error('not on the page of a project')
  return context
}

/** Gives the parts of a page what they share. The project has to be there. */
export function provideProject(handle: ProjectHandle): ProjectContext {
  const me = useMe()
  const { push } = useToasts()
  const offline = useOffline()
  const { isLive } = useConnection()
  const tasks = useTasks({
    state: handle.state,
    take: handle.take,
    me: () => me.value.id,
    live: isLive,
    tell: (text, { tone, action, onAction } = {}) =>
      push(text, {
        kind: tone === 'negative' ? 'error' : 'plain',
        ...(action && onAction ? { action: { label: action, run: onAction } } : {}),
      }),
  })
  const project = computed<Project>(() => {
    const state = handle.state.value
    if (!state) throw new Error('the project isn’t there')
    return { ...state.project, tasks: [...tasks.tasks.value] }
  })
  const people = computed(() => {
    const { former, members } = project.value
    return new Map<number, Person>([me.value, ...former, ...members].map((person) => [person.id, person]))
  })
  const context: ProjectContext = {
    project,
    me,
    can: computed(() => permissions(project.value, me.value)),
    tasks,
    // The tasks that one sees are what is counted, so that bar and list agree; while they are read anew, the server's word counts.
    progress: computed(() => (handle.renewing.value && handle.progress.value) || count(tasks.tasks.value)),
    present: handle.present,
    people,
    nameOf: (id) => (id === null ? 'Somebody' : (people.value.get(id)?.name ?? 'Somebody')),
    offline,
    take: handle.take,
  }
  provide(key, context)
  return context
}

const PATIENCE = 1_500 // ms; a shorter break is nobody's concern

function useOffline(): Readonly<Ref<string>> {
  const { state } = useConnection()
  const reason = ref('')
  let timer: ReturnType<typeof setTimeout> | undefined
  watch(
    state,
    (now) => {
      clearTimeout(timer)
      if (now === 'offline') reason.value = 'You are offline. This can be done when you are back.'
      else if (now === 'reconnecting') {
        timer = setTimeout(() => (reason.value = 'There is no connection to the server at the moment.'), PATIENCE)
      } else reason.value = ''
    },
    { immediate: true },
  )
  onScopeDispose(() => {
    clearTimeout(timer)
  })
  return reason
}
