import {
  computed,
  effectScope,
  onScopeDispose,
  shallowRef,
  watch,
  type ComputedRef,
  type Ref,
  type ShallowRef,
} from 'vue'

import { ApiError, del, errorText, patch, post } from '@/api/client'
import { newKey } from '@/api/key'
import type { Task } from '@/api/types'

import type { Delta } from './delta'
import { byMilestone } from './listing'
import { rankAt, type Place } from './moves'
import { rankBehind } from './order'
import { overlay, subject, type Change, type Pending, type TaskEdit } from './pending'
import { FOR_EVER, type ProjectState } from './state'

/** Tells somebody what has happened, with something to do about it where there is. */
export type Tell = (
  sentence: string,
  options?: { tone?: 'negative'; action?: string; onAction?: () => void },
) => () => void

export interface TaskSources {
  state: Readonly<ShallowRef<ProjectState | null>>
  take: (...deltas: Delta[]) => void
  me: () => number
  /** Whether the server can be reached, as far as is known. */
  live: Readonly<Ref<boolean>>
  tell: Tell
}

export interface Tasks {
  /** What somebody sees, by rank and id. */
  tasks: ComputedRef<readonly Task[]>
  pending: Readonly<ShallowRef<readonly Pending[]>>
  /** Tasks whose change was refused a moment ago. */
  refused: Readonly<ShallowRef<ReadonlySet<number>>>
  complete: (id: number) => void
  reopen: (id: number) => void
  /** Rejects with the ApiError where the answer has something to say about fields, or somebody else was faster. */
  edit: (id: number, edit: TaskEdit, version?: number) => Promise<void>
  move: (id: number, place: Place) => void
  remove: (id: number) => void
  create: (title: string, milestone: number | null) => void
}

/** How long a deletion can be taken back, in ms. */
export const UNDO = 5_000
/** How long a refused change is pointed out, in ms. */
const POINTED_OUT = 2_500

/** The tasks of a project and what can be done with them: shown at once, and taken back where the server refuses. */
export function useTasks({ state, take, me, live, tell }: TaskSources): Tasks {
  const pending = shallowRef<readonly Pending[]>([])
  const refused = shallowRef<ReadonlySet<number>>(new Set())
  const tasks = computed(() => overlay(state.value?.project.tasks ?? [], pending.value))
  const milestones = () => state.value?.project.milestones ?? []
  // What is done with one task is sent in its order; tasks don't wait for each other.
  const chains = new Map<number | string, Promise<unknown>>()
  const undoable = new Map<number, { send: () => void; id: number }>()
  const timers = new Set<ReturnType<typeof setTimeout>>()
  let keys = 0

  const after = (ms: number, run: () => void): ReturnType<typeof setTimeout> => {
    const timer = setTimeout(() => {
      timers.delete(timer)
      run()
    }, ms)
    timers.add(timer)
    return timer
  }

  const add = (change: Change, how: Pending['state'] = 'sending'): number => {
    const key = ++keys
    pending.value = [...pending.value, { key, change, state: how }]
    return key
  }
  const mark = (key: number, how: Pending['state']): void => {
    pending.value = pending.value.map((one) => (one.key === key ? { ...one, state: how } : one))
  }
  const drop = (key: number): void => {
    pending.value = pending.value.filter((one) => one.key !== key)
  }

  const pointOut = (id: number): void => {
    refused.value = new Set([...refused.value, id])
    after(POINTED_OUT, () => {
      refused.value = new Set([...refused.value].filter((one) => one !== id))
    })
  }

  /** Sends a change that is pending. What the server answers takes its place; where it refuses, what was there before shows again. */
  const send = async (key: number, change: Change, request: () => Promise<Delta>): Promise<void> => {
    const chain = change.kind === 'create' ? 'create' : change.id
    const before = chains.get(chain) ?? Promise.resolve()
    const run = before.then(request)
    const settled = run.catch(() => undefined)
    chains.set(chain, settled)
    try {
      take(await run)
      drop(key)
    } catch (error) {
      // What may have arrived all the same, and does nothing more when it arrives again.
      const patient = change.kind === 'complete' || change.kind === 'reopen' || change.kind === 'create'
      if (patient && error instanceof ApiError && error.status === 0) {
        await connected(key)
        if (pending.value.some((one) => one.key === key)) await send(key, change, request)
        return
      }
      drop(key)
      pointOut(subject(change))
      throw error
    } finally {
      if (chains.get(chain) === settled) chains.delete(chain)
    }
  }

  /** Waits until the connection is there, or there again. */
  const connected = (key: number): Promise<void> => {
    mark(key, 'waiting')
    return new Promise((resolve) => {
      // Connected, and yet not reached: the connection may not know yet, or the server is busy.
      const retry = (): void => {
        stop()
        clearTimeout(timer)
        mark(key, 'sending')
        resolve()
      }
      const stop = watch(live, (is) => {
        if (is) retry()
      })
      // It goes on when the project isn't looked at any more.
      const timer = setTimeout(retry, live.value ? 3_000 : 15_000)
    })
  }

  const attempt = (change: Change, request: () => Promise<Delta>): void => {
    send(add(change), change, request).catch((error: unknown) => {
      tell(errorText(error), { tone: 'negative' })
    })
  }
  const asked = async (request: Promise<Task>): Promise<Delta> => ({ type: 'task', task: await request })

  const remove = (id: number): void => {
    const title = tasks.value.find((task) => task.id === id)?.title ?? ''
    const change: Change = { kind: 'delete', id }
    const key = add(change, 'undoable')
    const sendNow = (): void => {
      if (!undoable.delete(key)) return
      clearTimeout(timer)
      timers.delete(timer)
      dismiss()
      mark(key, 'sending')
      send(key, change, async () => {
        await del(`/api/tasks/${id}`)
        return { type: 'task.deleted', id, version: FOR_EVER }
      }).catch((error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return // somebody else was faster
        tell(errorText(error), { tone: 'negative' })
      })
    }
    const timer = after(UNDO, sendNow)
    undoable.set(key, { send: sendNow, id })
    const dismiss = tell(`“${title}” is deleted.`, {
      action: 'Undo',
      onAction: () => {
        if (!undoable.delete(key)) return
        clearTimeout(timer)
        timers.delete(timer)
        drop(key)
      },
    })
  }

  // What waits for the connection ends with the page, and somebody believes that it is done: the browser asks before it leaves.
  const asking = (event: BeforeUnloadEvent): void => {
    event.preventDefault()
  }
  const waits = computed(() => pending.value.some((one) => one.state === 'waiting'))
  // Not bound to the component: what waits does so wherever one goes in the page.
  effectScope(true).run(() => {
    watch(
      waits,
      (some) => {
        if (some) window.addEventListener('beforeunload', asking)
        else window.removeEventListener('beforeunload', asking)
      },
      { flush: 'sync' },
    )
  })

  // Who closes the window has decided: what could still be undone is sent, by a request that outlives the page.
  const leaving = (): void => {
    for (const { id } of undoable.values()) void fetch(`/api/tasks/${id}`, { method: 'DELETE', keepalive: true })
    undoable.clear()
  }
  window.addEventListener('pagehide', leaving)
  onScopeDispose(() => {
    window.removeEventListener('pagehide', leaving)
    for (const { send: sendNow } of [...undoable.values()]) sendNow()
    for (const timer of timers) clearTimeout(timer)
  })

  /** Takes back the opposite of an action that waits for the connection: the two together are nothing. */
  const withdraw = (id: number, kind: 'complete' | 'reopen'): boolean => {
    const waiting = pending.value.find(
      ({ state: how, change }) => how === 'waiting' && change.kind === kind && change.id === id,
    )
    if (waiting) drop(waiting.key)
    return waiting !== undefined
  }

  const now = (): string => new Date().toISOString()
  let temporary = 0

  return {
    tasks,
    pending,
    refused,
    complete: (id) => {
      if (withdraw(id, 'reopen')) return
      attempt({ kind: 'complete', id, by: me(), at: now() }, () => asked(post<Task>(`/api/tasks/${id}/complete`)))
    },
    reopen: (id) => {
      if (withdraw(id, 'complete')) return
      attempt({ kind: 'reopen', id, by: me(), at: now() }, () => asked(post<Task>(`/api/tasks/${id}/reopen`)))
    },
    edit: async (id, edit, version) => {
      const change: Change = { kind: 'edit', id, edit }
      const body = version === undefined ? edit : { ...edit, version }
      await send(add(change), change, () => asked(patch<Task>(`/api/tasks/${id}`, body)))
    },
    move: (id, place) => {
      const rank = rankAt(id, place, tasks.value, milestones())
      const edit: TaskEdit = { rank, milestone_id: place.milestone }
      attempt({ kind: 'edit', id, edit }, () =>
        asked(patch<Task>(`/api/tasks/${id}`, { milestone_id: place.milestone, after: place.after })),
      )
    },
    remove,
    create: (title, milestone) => {
      const group = byMilestone(tasks.value, milestones()).get(milestone) ?? []
      const key = newKey()
      const task = draft(--temporary, title, milestone, state.value?.project.id ?? 0)
      task.rank = rankBehind(group, group.at(-1)?.id ?? 0)
      const newest = (state.value?.project.tasks ?? []).reduce((most, one) => Math.max(most, one.id), 0)
      attempt({ kind: 'create', task, newest }, () =>
        asked(post<Task>(`/api/projects/${task.project_id}/tasks`, { title, milestone_id: milestone, key })),
      )
    },
  }
}

function draft(id: number, title: string, milestone: number | null, project: number): Task {
  return {
    id,
    project_id: project,
    milestone_id: milestone,
    title,
    description: '',
    rank: 0,
    assignee_id: null,
    due_on: null,
    completed_at: null,
    completed_by: null,
    reopened_at: null,
    reopened_by: null,
    conversation_id: null,
    created_at: new Date().toISOString(),
    version: 0,
  }
}
