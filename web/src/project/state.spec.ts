import { expect, test } from 'vitest'

import type { Project, Task } from '@/api/types'

import type { Delta } from './delta'
import { aConversation, aMember, aMilestone, aProject, aTask, dice } from './fixture'
import { byRank } from './order'
import { begin, FOR_EVER, reduce, renew } from './state'

const ids = (tasks: readonly Task[]) => tasks.map(({ id }) => id)

test('a delta whose version isn’t higher changes nothing', () => {
  const state = begin(aProject({ tasks: [aTask({ id: 1, version: 3, title: 'Sign' })] }))
  for (const version of [1, 2, 3]) {
    const next = reduce(state, [{ type: 'task', task: aTask({ id: 1, version, title: 'Old' }) }])
    expect(next.project.tasks[0]?.title).toBe('Sign')
  }
  const next = reduce(state, [{ type: 'task', task: aTask({ id: 1, version: 4, title: 'New' }) }])
  expect(next.project.tasks[0]?.title).toBe('New')
  expect(state.project.tasks[0]?.title).toBe('Sign')
})

test('a deleted task isn’t brought back by what came before, and a task that moved back is', () => {
  let state = begin(aProject({ tasks: [aTask({ id: 1, version: 3 })] }))
  state = reduce(state, [{ type: 'task.deleted', id: 1, version: 5 }])
  state = reduce(state, [{ type: 'task', task: aTask({ id: 1, version: 5 }) }])
  expect(state.project.tasks).toEqual([])
  state = reduce(state, [{ type: 'task', task: aTask({ id: 1, version: 6 }) }])
  expect(ids(state.project.tasks)).toEqual([1])
  state = reduce(state, [{ type: 'task.deleted', id: 1, version: 5 }])
  expect(ids(state.project.tasks)).toEqual([1])
  state = reduce(state, [
    { type: 'task.deleted', id: 1, version: FOR_EVER },
    { type: 'task', task: aTask({ id: 1, version: 9 }) },
  ])
  expect(state.project.tasks).toEqual([])
})

test('a task of another project isn’t taken', () => {
  const state = reduce(begin(aProject()), [{ type: 'task', task: aTask({ id: 1, project_id: 2 }) }])
  expect(state.project.tasks).toEqual([])
})

test('random deltas, doubled and in any order, end where a plain model ends', () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = dice(seed)
    const versions = new Map<number, number>()
    const model = new Map<number, Task>()
    const deltas: Delta[] = []
    for (let i = 0; i < 80; i++) {
      const id = 1 + random(12)
      const version = (versions.get(id) ?? 0) + 1
      versions.set(id, version)
      if (random(5) === 0) {
        model.delete(id)
        deltas.push({ type: 'task.deleted', id, version })
      } else {
        const task = aTask({ id, version, rank: random(5), title: `${id}/${version}` })
        model.set(id, task)
        deltas.push({ type: 'task', task })
      }
    }
    const expected = [...model.values()].sort(byRank)
    const told = [...deltas, ...deltas.filter(() => random(3) === 0)]
    if (seed % 2 === 0) for (let i = told.length - 1; i > 0; i--) swap(told, i, random(i + 1))
    let state = begin(aProject())
    for (let at = 0; at < told.length;) {
      const size = 1 + random(7)
      state = reduce(state, told.slice(at, at + size))
      at += size
    }
    expect(state.project.tasks, `seed ${seed}`).toEqual(expected)
  }
})

function swap(list: Delta[], a: number, b: number): void {
  const one = list[a]!
  list[a] = list[b]!
  list[b] = one
}

test('milestones keep their order, and deleted ones stay away', () => {
  let state = begin(aProject({ milestones: [aMilestone({ id: 1 }), aMilestone({ id: 2 })] }))
  state = reduce(state, [{ type: 'milestone', milestone: aMilestone({ id: 2, rank: 1, version: 2 }) }])
  expect(state.project.milestones.map(({ id }) => id)).toEqual([2, 1])
  state = reduce(state, [
    { type: 'milestone.deleted', id: 2 },
    { type: 'milestone', milestone: aMilestone({ id: 2, version: 9 }) },
  ])
  expect(state.project.milestones.map(({ id }) => id)).toEqual([1])
})

test('who leaves stays known by name, and who comes back is a member again', () => {
  let state = begin(aProject({ members: [aMember({ id: 1, name: 'Zoe' }), aMember({ id: 2, name: 'Ben' })] }))
  state = reduce(state, [{ type: 'member.removed', id: 1 }])
  expect(state.project.members.map(({ name }) => name)).toEqual(['Ben'])
  expect(state.project.former).toEqual([{ id: 1, name: 'Zoe', company: 'Acme', staff: false }])
  state = reduce(state, [{ type: 'member', member: aMember({ id: 1, name: 'Anna', role: 'staff' }) }])
  expect(state.project.members.map(({ name }) => name)).toEqual(['Anna', 'Ben'])
  expect(state.project.former).toEqual([])
})

test('a push about a conversation leaves how far one has read', () => {
  let state = begin(aProject({ conversations: [aConversation({ id: 1, last_seq: 4, read_seq: 3 })] }))
  const pushed = aConversation({ id: 1, last_seq: 5, version: 2 })
  delete pushed.read_seq
  state = reduce(state, [{ type: 'conversation', conversation: pushed }])
  expect(state.project.conversations[0]).toMatchObject({ last_seq: 5, read_seq: 3 })
  state = reduce(state, [
    { type: 'read', id: 1, seq: 5 },
    { type: 'read', id: 1, seq: 2 },
  ])
  expect(state.project.conversations[0]).toMatchObject({ last_seq: 5, read_seq: 5 })
})

test('the head of a project, its end, and the wish to load anew', () => {
  const head = { id: 1, name: 'Move', summary: 's', status: 'finished', due_on: null, version: 2 } as const
  const state = reduce(begin(aProject({ role: 'staff' })), [
    { type: 'project', project: head },
    { type: 'project', project: { ...head, name: 'Old', version: 1 } },
    { type: 'reload' },
    { type: 'project.deleted' },
  ])
  expect(state.project).toMatchObject({ name: 'Move', status: 'finished', role: 'staff' })
  expect(state).toMatchObject({ deleted: true, reloads: 1 })
})

test('a snapshot that answers have overtaken takes nothing back', () => {
  let state = begin(aProject({ tasks: [1, 2, 3].map((id) => aTask({ id })) }))
  state = reduce(state, [
    { type: 'task', task: aTask({ id: 1, version: 4, title: 'Mine' }) },
    { type: 'task.deleted', id: 2, version: FOR_EVER },
  ])
  const snapshot: Project = aProject({
    tasks: [aTask({ id: 1, version: 3 }), aTask({ id: 2 }), aTask({ id: 3, version: 8, title: 'Theirs' })],
  })
  state = renew(state, snapshot)
  expect(state.project.tasks.map(({ id, title }) => [id, title])).toEqual([
    [1, 'Mine'],
    [3, 'Theirs'],
  ])
})
