import { mount } from '@vue/test-utils'
import { expect, test } from 'vitest'

import type { Task } from '@/api/types'

import { aTask } from './fixture'
import TaskRow from './TaskRow.vue'

function row(task: Partial<Task> = {}, more: Record<string, unknown> = {}) {
  return mount(TaskRow, {
    props: {
      task: aTask({ id: 5, title: 'Sign the contract', ...task }),
      active: false,
      assignee: 'Ben',
      messages: 0,
      unread: 0,
      leaving: false,
      refused: false,
      waiting: false,
      locked: '',
      movable: true,
      ...more,
    },
  })
}

test('the checkbox says what it does, and to which task', async () => {
  const open = row()
  expect(open.get('label').text()).toBe('Complete “Sign the contract”')
  await open.get('input').setValue(true)
  expect(open.emitted('toggle')).toHaveLength(1)
  expect(row({ completed_at: '2026-03-01T10:00:00Z' }).get('label').text()).toBe('Reopen “Sign the contract”')
})

test('Tab leads to one task only', () => {
  for (const [active, index] of [
    [true, '0'],
    [false, '-1'],
  ] as const) {
    const shown = row({}, { active })
    expect(shown.get('input').attributes('tabindex')).toBe(index)
    expect(shown.get('[data-title]').attributes('tabindex')).toBe(index)
  }
})

test('a title is text, whatever it holds', () => {
  const shown = row({ title: '<img src=x onerror=alert(1)>' })
  expect(shown.find('img').exists()).toBe(false)
  expect(shown.get('[data-title]').text()).toBe('<img src=x onerror=alert(1)>')
})

test('a task that isn’t saved yet can’t be opened, completed or dragged', () => {
  const shown = row({ id: -1 })
  expect(shown.get('input').attributes('disabled')).toBeDefined()
  expect(shown.get('[data-title]').attributes('disabled')).toBeDefined()
  expect(shown.attributes('draggable')).toBe('false')
})

test('why a task can’t be completed stands at its checkbox', () => {
  const shown = row({}, { locked: 'This project is archived.' })
  expect(shown.get('input').attributes()).toMatchObject({ disabled: '', title: 'This project is archived.' })
})

test('messages that weren’t read are told', () => {
  expect(row({}, { messages: 3, unread: 1 }).get('.talk').text()).toContain('3 messages, 1 unread')
  expect(row({}, { messages: 1 }).get('.talk').text()).toContain('1 message')
  expect(row().find('.talk').exists()).toBe(false)
})
