import { flushPromises } from '@vue/test-utils'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { effectScope, type EffectScope } from 'vue'

import type { ChannelOptions } from '@/live/useChannel'

import { anAnswer, aProject, aTask } from './fixture'
import { useProject, type ProjectHandle } from './useProject'

const followed = new Map<string, ChannelOptions<unknown>>()
vi.mock('@/live/useChannel', async () => {
  const { computed, ref, shallowRef, toValue } = await import('vue')
  return {
    useChannel: (channel: unknown, options: ChannelOptions<unknown>) => {
      const name = computed(() => toValue(channel as string | null))
      followed.set(followed.has('project') ? 'progress' : 'project', options)
      return { state: ref('subscribed'), present: shallowRef([]), name }
    },
  }
})

let answers: (() => Response)[]
let asked: number
let scope: EffectScope

beforeEach(() => {
  vi.useFakeTimers()
  followed.clear()
  answers = []
  asked = 0
  vi.stubGlobal('fetch', () => {
    asked++
    const answer = answers.shift()
    return answer ? Promise.resolve(answer()) : new Promise<Response>(() => undefined)
  })
})
afterEach(() => {
  scope.stop()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

const json =
  (body: unknown, status = 200) =>
  () =>
    anAnswer(status, body)
const snapshot = (...ids: number[]) => json(aProject({ tasks: ids.map((id) => aTask({ id })) }))
const ids = (handle: ProjectHandle) => handle.state.value?.project.tasks.map(({ id }) => id)

async function opened(...first: (() => Response)[]): Promise<ProjectHandle> {
  answers = first
  scope = effectScope()
  const handle = scope.run(() => useProject(1))!
  await flushPromises()
  return handle
}
const push = (delta: unknown) => {
  followed.get('project')!.onDelta(delta, {})
}

test('pushes of one frame are one change, and what is taken from an answer comes behind them', async () => {
  const handle = await opened(snapshot(1))
  const before = handle.state.value
  push({ type: 'task', task: aTask({ id: 2 }) })
  push({ type: 'task', task: aTask({ id: 3 }) })
  push({ type: 'something newer' })
  expect(handle.state.value).toBe(before)
  vi.advanceTimersByTime(100)
  expect(ids(handle)).toEqual([1, 2, 3])
  push({ type: 'task.deleted', id: 2, version: 1 })
  handle.take({ type: 'task', task: aTask({ id: 4 }) })
  expect(ids(handle)).toEqual([1, 3, 4])
})

test('loading anew keeps what is shown until the answer is there, and follows from it', async () => {
  const handle = await opened(snapshot(1), snapshot(1, 2))
  const position = followed.get('project')!.position as { value: unknown }
  const from = position.value
  push({ type: 'reload' })
  vi.advanceTimersByTime(100)
  expect([handle.status.value, handle.renewing.value, ids(handle)]).toEqual(['ready', true, [1]])
  await flushPromises()
  expect([handle.status.value, handle.renewing.value, ids(handle)]).toEqual(['ready', false, [1, 2]])
  expect(position.value).not.toBe(from)
})

test('a reload that fails is tried again, and the page stays', async () => {
  const handle = await opened(snapshot(1), json({ detail: 'Busy.' }, 503), snapshot(1, 2))
  followed.get('project')!.onReload!()
  await flushPromises()
  expect([handle.status.value, ids(handle)]).toEqual(['ready', [1]])
  vi.advanceTimersByTime(500)
  await flushPromises()
  expect(ids(handle)).toEqual([1, 2])
})

test.each([
  { name: 'who is refused at first never had it', first: json({}, 404), want: 'missing' },
  { name: 'trouble can be tried again', first: json({}, 500), want: 'failed' },
])('$name', async ({ first, want }) => {
  expect((await opened(first)).status.value).toBe(want)
})

test('who is removed while they look is told so', async () => {
  const handle = await opened(snapshot(1), json({}, 404))
  followed.get('project')!.onGone!()
  vi.advanceTimersByTime(0)
  await flushPromises()
  expect(handle.status.value).toBe('removed')
  expect(asked).toBe(2)
})

test('a project that is deleted while one looks is told apart from that', async () => {
  const handle = await opened(snapshot(1), json({}, 404))
  push({ type: 'project.deleted' })
  vi.advanceTimersByTime(100)
  expect(handle.status.value).toBe('deleted')
})

test('the newest progress counts, in whatever order it comes', async () => {
  const handle = await opened(snapshot(1))
  followed.get('progress')!.onDelta({ done: 2, total: 3, version: 9 }, {})
  followed.get('progress')!.onDelta({ done: 1, total: 3, version: 8 }, {})
  expect(handle.progress.value).toEqual({ done: 2, total: 3, version: 9 })
})
