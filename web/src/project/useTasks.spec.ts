import { flushPromises } from '@vue/test-utils'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { effectScope, ref, shallowRef, type EffectScope } from 'vue'

import type { Task } from '@/api/types'

import { aMilestone, anAnswer, aProject, aTask } from './fixture'
import { begin, reduce, type ProjectState } from './state'
import { UNDO, useTasks, type Tasks, type Tell } from './useTasks'

interface Request {
  method: string
  path: string
  body: unknown
  answer: (status: number, body?: unknown) => Promise<void>
  fail: () => Promise<void>
}

let requests: Request[]
let scope: EffectScope
let state: ReturnType<typeof shallowRef<ProjectState | null>>
const live = ref(true)
const told: { sentence: string; action?: (() => void) | undefined }[] = []

beforeEach(() => {
  vi.useFakeTimers()
  requests = []
  told.length = 0
  live.value = true
  vi.stubGlobal('fetch', (path: string, init: RequestInit) => {
    return new Promise<Response>((resolve, reject) => {
      requests.push({
        method: init.method ?? 'GET',
        path,
        body: typeof init.body === 'string' ? (JSON.parse(init.body) as unknown) : undefined,
        answer: async (status, body) => {
          resolve(anAnswer(status, body))
          await flushPromises()
        },
        fail: async () => {
          reject(new TypeError('no network'))
          await flushPromises()
        },
      })
    })
  })
})

afterEach(() => {
  scope.stop()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

function begun(...tasks: Task[]): Tasks {
  state = shallowRef<ProjectState | null>(
    begin(aProject({ tasks, milestones: [aMilestone({ id: 10 }), aMilestone({ id: 20 })] })),
  )
  const tell: Tell = (sentence, options) => {
    told.push({ sentence, action: options?.onAction })
    return () => undefined
  }
  scope = effectScope()
  return scope.run(() =>
    useTasks({
      state: state as Readonly<typeof state> & { readonly value: ProjectState | null },
      take: (...deltas) => {
        state.value = reduce(state.value!, deltas)
      },
      me: () => 7,
      live,
      tell,
    }),
  )!
}

const done = (task: Task, by = 7): Task => ({
  ...task,
  version: 2,
  completed_at: '2026-03-02T10:00:00Z',
  completed_by: by,
})

test('completing shows at once and is what the server answers', async () => {
  const task = aTask({ id: 1 })
  const { tasks, complete, pending } = begun(task)
  complete(1)
  expect(tasks.value[0]?.completed_by).toBe(7)
  expect(state.value?.project.tasks[0]?.completed_at).toBeNull()
  await flushPromises()
  expect(requests).toMatchObject([{ method: 'POST', path: '/api/tasks/1/complete' }])
  await requests[0]!.answer(200, done(task))
  expect(pending.value).toEqual([])
  expect(tasks.value[0]).toMatchObject({ version: 2, completed_at: '2026-03-02T10:00:00Z' })
})

test('what is refused is taken back, pointed out for a while, and says why', async () => {
  const { tasks, complete, refused } = begun(aTask({ id: 1 }))
  complete(1)
  await flushPromises()
  await requests[0]!.answer(409, { detail: 'Anna completed this task two minutes ago.' })
  expect(tasks.value[0]?.completed_at).toBeNull()
  expect([...refused.value]).toEqual([1])
  expect(told[0]?.sentence).toBe('Anna completed this task two minutes ago.')
  vi.advanceTimersByTime(5_000)
  expect([...refused.value]).toEqual([])
})

test('completing without a connection waits and is sent again; taking it back sends nothing', async () => {
  const one = aTask({ id: 1 })
  const { tasks, complete, reopen, pending } = begun(one, aTask({ id: 2 }))
  live.value = false
  complete(1)
  complete(2)
  await flushPromises()
  await requests[0]!.fail()
  await requests[1]!.fail()
  expect(pending.value.map(({ state: how }) => how)).toEqual(['waiting', 'waiting'])
  expect(tasks.value.map(({ completed_by }) => completed_by)).toEqual([7, 7])
  reopen(2)
  expect(tasks.value.map(({ completed_by }) => completed_by)).toEqual([7, null])
  live.value = true
  await flushPromises()
  expect(requests.map(({ path }) => path)).toEqual([1, 2, 1].map((id) => `/api/tasks/${id}/complete`))
  await requests[2]!.answer(200, done(one))
  expect(pending.value).toEqual([])
  expect(told).toEqual([])
})

test('the browser asks before it leaves what waits, and what waits is sent also when the project isn’t looked at any more', async () => {
  const asked = (): boolean => !window.dispatchEvent(new Event('beforeunload', { cancelable: true }))
  const one = aTask({ id: 1 })
  const { complete, pending } = begun(one)
  complete(1)
  await flushPromises()
  expect(asked()).toBe(false)
  await requests[0]!.fail()
  expect(asked()).toBe(true)
  scope.stop()
  vi.advanceTimersByTime(3_000)
  await flushPromises()
  expect(requests).toHaveLength(2)
  await requests[1]!.answer(200, done(one))
  expect(pending.value).toEqual([])
  expect(asked()).toBe(false)
})

test('an edit that isn’t taken rejects with what the server says, and nothing of it stays', async () => {
  const { tasks, edit } = begun(aTask({ id: 1 }))
  const result = edit(1, { title: 'x'.repeat(300) }, 1)
  const caught = result.catch((error: unknown) => error)
  expect(tasks.value[0]?.title).toHaveLength(300)
  await flushPromises()
  expect(requests[0]).toMatchObject({ method: 'PATCH', body: { version: 1 } })
  await requests[0]!.answer(422, { detail: 'No.', errors: [{ location: 'body.title', message: 'too long' }] })
  expect(await caught).toMatchObject({ fields: { title: 'Too long.' } })
  expect(tasks.value[0]?.title).toBe('Task 1')
})

test('moves of one task are sent one after the other', async () => {
  const { tasks, move } = begun(aTask({ id: 1, milestone_id: 10 }), aTask({ id: 2, milestone_id: 10 }))
  move(1, { milestone: 10, after: 2 })
  move(1, { milestone: 20, after: 0 })
  expect(tasks.value.find(({ id }) => id === 1)?.milestone_id).toBe(20)
  await flushPromises()
  expect(requests.map(({ body }) => body)).toEqual([{ milestone_id: 10, after: 2 }])
  await requests[0]!.answer(200, aTask({ id: 1, milestone_id: 10, rank: 4096, version: 2 }))
  expect(requests[1]?.body).toEqual({ milestone_id: 20, after: 0 })
  expect(tasks.value.find(({ id }) => id === 1)?.milestone_id).toBe(20)
})

test('a deletion can be taken back, and is sent when it can’t any more', async () => {
  const { tasks, remove } = begun(aTask({ id: 1 }), aTask({ id: 2 }))
  remove(1)
  expect(tasks.value.map(({ id }) => id)).toEqual([2])
  told[0]!.action!()
  expect(tasks.value.map(({ id }) => id)).toEqual([1, 2])
  remove(2)
  vi.advanceTimersByTime(UNDO)
  await flushPromises()
  expect(requests).toMatchObject([{ method: 'DELETE', path: '/api/tasks/2' }])
  told[1]!.action!() // too late
  await requests[0]!.answer(204)
  expect(tasks.value.map(({ id }) => id)).toEqual([1])
})

test('who leaves the page has decided to delete', async () => {
  const { remove } = begun(aTask({ id: 1 }))
  remove(1)
  scope.stop()
  await flushPromises()
  expect(requests).toMatchObject([{ method: 'DELETE', path: '/api/tasks/1' }])
})

test('new tasks stand at the end of their milestone, in the order of typing', async () => {
  const { tasks, create } = begun(aTask({ id: 1, milestone_id: 10 }), aTask({ id: 2, milestone_id: 20 }))
  create('First', 10)
  create('Second', 10)
  const titles = () => tasks.value.filter((task) => task.milestone_id === 10).map(({ title }) => title)
  expect(titles()).toEqual(['Task 1', 'First', 'Second'])
  await flushPromises()
  const key: unknown = expect.stringMatching(/^[0-9a-f-]{32,36}$/)
  expect(requests.map(({ body }) => body)).toEqual([{ title: 'First', milestone_id: 10, key }])
  await requests[0]!.answer(201, aTask({ id: 3, title: 'First', milestone_id: 10, rank: 1500 }))
  expect(titles()).toEqual(['Task 1', 'First', 'Second'])
  await requests[1]!.answer(201, aTask({ id: 4, title: 'Second', milestone_id: 10, rank: 1600 }))
  expect(tasks.value.map(({ id }) => id)).toEqual([1, 3, 4, 2])
})
