import { expect, test } from 'vitest'

import { returnPath } from './router'

test.each([
  ['/projects/7?task=3#x', '/projects/7?task=3#x'],
  ['//other.example/x', '/'],
  ['/\\other.example', '/'],
  ['/.//other.example', '/'],
  ['/x/..//other.example', '/'],
  ['//[', '/'],
  ['https://other.example', '/'],
  ['javascript:alert(1)', '/'],
  ['/sign-in?to=/', '/'],
  ['', '/'],
  [null, '/'],
  [['/inbox'], '/'],
])('after sign-in, %j leads to %s', (to, path) => {
  expect(returnPath(to)).toBe(path)
})
