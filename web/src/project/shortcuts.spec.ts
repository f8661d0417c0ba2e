import { expect, test } from 'vitest'

import { command } from './shortcuts'

const event = (key: string, more: Partial<KeyboardEvent> = {}) => ({
  key,
  altKey: false,
  ctrlKey: false,
  metaKey: false,
  shiftKey: false,
  defaultPrevented: false,
  target: document.body,
  ...more,
})

test.each([
  ['j', false, 'next'],
  ['k', true, 'previous'],
  ['ArrowDown', true, 'next'],
  ['ArrowDown', false, undefined],
  [' ', true, 'toggle'],
  [' ', false, undefined],
  ['Enter', true, 'open'],
  ['n', false, 'new'],
  ['/', false, 'search'],
  ['?', true, undefined],
  ['constructor', true, undefined],
])('%s, in the list: %s, is %s', (key, inList, want) => {
  expect(command(event(key), inList)).toBe(want)
})

test('Alt and an arrow move the task that has the focus', () => {
  expect(command(event('ArrowUp', { altKey: true }), true)).toBe('up')
  expect(command(event('ArrowDown', { altKey: true }), true)).toBe('down')
  expect(command(event('ArrowDown', { altKey: true }), false)).toBeUndefined()
})

test('somebody who types means letters', () => {
  const checkbox = document.createElement('input')
  checkbox.type = 'checkbox'
  for (const target of [document.createElement('input'), document.createElement('textarea')]) {
    expect(command(event('j', { target }), true)).toBeUndefined()
  }
  expect(command(event('j', { target: checkbox }), true)).toBe('next')
  expect(command(event('x', { target: checkbox }), true)).toBe('toggle')
  expect(command(event(' ', { target: checkbox }), true)).toBeUndefined()
  expect(command(event('n', { ctrlKey: true }), true)).toBeUndefined()
})
