import { beforeEach, expect, test, vi } from 'vitest'
import { computed, ref, shallowRef } from 'vue'

import type { Task } from '@/api/types'
import { useToasts } from '@/ui/toasts'

import { aProject, aTask, ME } from './fixture'
import { permissions } from './permissions'
import { TWICE, useCommands } from './useCommands'
import type { Tasks } from './useTasks'

const done = { completed_at: '2026-03-02T09:00:00Z' }

function setUp(task: Task, lingers: boolean) {
  const all = shallowRef<readonly Task[]>([task])
  const tasks = { tasks: computed(() => all.value), complete: vi.fn(), reopen: vi.fn() } as unknown as Tasks
  const project = computed(() => aProject({ tasks: [...all.value] }))
  const { toggle } = useCommands({
    project,
    tasks,
    can: computed(() => permissions(project.value, ME)),
    offline: ref(''),
    me: { value: ME },
    nameOf: () => 'Elena Rossi',
    lingering: ref(new Set(lingers ? [task.id] : [])),
    shown: computed(() => []),
    active: ref(null),
    open: vi.fn(),
    go: () => true,
    focusOn: vi.fn(),
    reveal: vi.fn(),
    begin: () => true,
  })
  return { toggle, tasks, all }
}

beforeEach(() => {
  const { toasts, dismiss } = useToasts()
  for (const { id } of [...toasts.value]) dismiss(id)
})

test('what somebody else completed that very moment is not reopened, and one is told who it was', () => {
  const { toggle, tasks } = setUp(aTask({ id: 7, ...done, completed_by: 2 }), true)
  toggle(7)
  expect(tasks.reopen).not.toHaveBeenCalled()
  expect(useToasts().toasts.value.map(({ text }) => text)).toEqual(['Elena Rossi has just completed “Task 7”'])
})

test.each([
  { name: 'by oneself, a moment ago', completed_by: ME.id, lingers: true },
  { name: 'by somebody else, long ago', completed_by: 2, lingers: false },
])('what was completed $name is reopened', ({ completed_by, lingers }) => {
  const { toggle, tasks } = setUp(aTask({ id: 7, ...done, completed_by }), lingers)
  toggle(7)
  expect(tasks.reopen).toHaveBeenCalledExactlyOnceWith(7)
})

test('a double click completes, a click later on reopens', () => {
  const now = vi.spyOn(performance, 'now').mockReturnValue(1_000)
  const { toggle, tasks, all } = setUp(aTask({ id: 7 }), false)
  toggle(7)
  all.value = [aTask({ id: 7, ...done, completed_by: ME.id })]
  now.mockReturnValue(1_000 + TWICE - 1)
  toggle(7)
  expect(tasks.complete).toHaveBeenCalledExactlyOnceWith(7)
  expect(tasks.reopen).not.toHaveBeenCalled()
  now.mockReturnValue(1_000 + TWICE)
  toggle(7)
  expect(tasks.reopen).toHaveBeenCalledExactlyOnceWith(7)
  now.mockRestore()
})
