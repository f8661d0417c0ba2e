import { expect, test } from 'vitest'

import { aMilestone, aTask } from './fixture'
import { counts, parseFilter, rows, type Choice, type Filter } from './listing'

const done = { completed_at: '2026-03-02T10:00:00Z', completed_by: 8 }
const milestones = [aMilestone({ id: 10, name: 'Start' }), aMilestone({ id: 20, name: 'Later' })]
const tasks = [
  aTask({ id: 1, milestone_id: 10, title: 'Sign the contract', ...done }),
  aTask({ id: 2, milestone_id: 10, title: 'Send the logo', assignee_id: 7 }),
  aTask({ id: 3, milestone_id: null, title: 'Say hello' }),
  aTask({ id: 4, milestone_id: 99, title: 'Of a milestone that is gone', assignee_id: 8 }),
]

const choose = (choice: Partial<Choice> = {}): Choice => ({
  filter: 'outstanding',
  search: '',
  me: 7,
  lingering: new Set(),
  editable: false,
  ...choice,
})

const keys = (choice: Partial<Choice>) => rows(tasks, milestones, choose(choice)).map(({ key }) => key)

test.each<{ name: string; choice: Partial<Choice>; want: string[] }>([
  { name: 'outstanding, empty milestones too', choice: {}, want: ['m10', 't2', 'm20', 'm0', 't3', 't4'] },
  { name: 'mine', choice: { filter: 'mine' }, want: ['m10', 't2'] },
  { name: 'done', choice: { filter: 'done' }, want: ['m10', 't1'] },
  { name: 'all, outstanding first', choice: { filter: 'all' }, want: ['m10', 't2', 't1', 'm20', 'm0', 't3', 't4'] },
  { name: 'searching', choice: { filter: 'all', search: ' THE  logo' }, want: ['m10', 't2'] },
  { name: 'searching what isn’t there', choice: { filter: 'all', search: 'zebra' }, want: [] },
  {
    name: 'one that has just been completed stays in its place',
    choice: { lingering: new Set([1]) },
    want: ['m10', 't1', 't2', 'm20', 'm0', 't3', 't4'],
  },
  {
    name: 'with rows to add tasks',
    choice: { editable: true },
    want: ['m10', 't2', 'n10', 'm20', 'n20', 'm0', 't3', 't4', 'n0'],
  },
  { name: 'nothing is added to what is done', choice: { editable: true, filter: 'done' }, want: ['m10', 't1'] },
])('$name', ({ choice, want }) => {
  expect(keys(choice)).toEqual(want)
})

test('a milestone’s bar counts all its tasks, whatever the filter', () => {
  const [heading] = rows(tasks, milestones, choose({ filter: 'mine' }))
  expect(heading).toMatchObject({ count: { done: 1, total: 2 }, tasks: 1 })
})

test('tasks without any milestone need no heading', () => {
  expect(rows([aTask({ id: 3 })], [], choose({ editable: true })).map(({ key }) => key)).toEqual(['t3', 'n0'])
})

test('how many each filter shows is what it shows', () => {
  const told = counts(tasks, 7)
  for (const filter of ['outstanding', 'mine', 'done', 'all'] as Filter[]) {
    expect(keys({ filter }).filter((key) => key.startsWith('t')).length).toBe(told[filter])
  }
})

test.each([
  ['done', 'done'],
  ['nonsense', 'outstanding'],
  [undefined, 'outstanding'],
])('the filter %s is %s', (value, want) => {
  expect(parseFilter(value)).toBe(want)
})
