import { expect, test } from 'vitest'
import { nextTick, ref } from 'vue'

import { useDraft } from './useDraft'

test('what others write is taken over until one writes oneself', async () => {
  const current = ref('Sign')
  const draft = useDraft(() => current.value)
  current.value = 'Sign it'
  await nextTick()
  expect(draft.text.value).toBe('Sign it')
  draft.text.value = 'Sign it twice'
  expect(draft.dirty.value).toBe(true)
  current.value = 'Forget it'
  await nextTick()
  expect(draft.text.value).toBe('Sign it twice')
  expect(draft.theirs.value).toBe('Forget it')
})

test('a conflict ends by keeping one’s own, by taking theirs, and by theirs becoming the same', async () => {
  const current = ref('a')
  const draft = useDraft(() => current.value)
  const conflict = async (theirs: string) => {
    draft.text.value = 'mine'
    current.value = theirs
    await nextTick()
  }
  await conflict('b')
  draft.keep()
  expect([draft.text.value, draft.theirs.value, draft.dirty.value]).toEqual(['mine', undefined, true])
  await conflict('c')
  draft.reset()
  expect([draft.text.value, draft.theirs.value, draft.dirty.value]).toEqual(['c', undefined, false])
  await conflict('mine')
  expect([draft.text.value, draft.theirs.value, draft.dirty.value]).toEqual(['mine', undefined, false])
})

test('who changes it and takes that back has made no conflict', async () => {
  const current = ref('a')
  const draft = useDraft(() => current.value)
  draft.text.value = 'mine'
  current.value = 'b'
  await nextTick()
  current.value = 'a'
  await nextTick()
  expect(draft.theirs.value).toBeUndefined()
})
