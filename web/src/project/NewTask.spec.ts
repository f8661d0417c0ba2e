import { mount } from '@vue/test-utils'
import { expect, test } from 'vitest'

import { aMilestone } from './fixture'
import NewTask from './NewTask.vue'

const typing = (disabled = '') =>
  mount(NewTask, { props: { milestone: aMilestone({ id: 10, name: 'Start' }), open: true, disabled } })

test('Enter adds a task and leaves room for another one', async () => {
  const shown = typing()
  const field = shown.get('input')
  for (const title of ['First', '  Second  ']) {
    await field.setValue(title)
    await shown.get('form').trigger('submit')
  }
  expect(shown.emitted('create')).toEqual([['First'], ['Second']])
  expect(field.element.value).toBe('')
})

test('nothing, and spaces, add nothing', async () => {
  const shown = typing()
  await shown.get('input').setValue('   ')
  await shown.get('form').trigger('submit')
  expect(shown.emitted('create')).toBeUndefined()
})

test('Escape and leaving it empty close it; what has been typed stays', async () => {
  const shown = typing()
  await shown.get('input').setValue('Half a tho')
  await shown.get('input').trigger('blur')
  expect(shown.emitted('close')).toBeUndefined()
  await shown.get('input').trigger('keydown', { key: 'Escape' })
  expect(shown.emitted('close')).toHaveLength(1)
})

test('without a connection it says why, and keeps the text', async () => {
  const shown = typing('You are offline.')
  await shown.get('input').setValue('Call')
  await shown.get('form').trigger('submit')
  expect(shown.emitted('create')).toBeUndefined()
  expect(shown.text()).toContain('You are offline.')
  expect(shown.get('input').element.value).toBe('Call')
})
