import { flushPromises, mount } from '@vue/test-utils'
import { afterEach, expect, test, vi } from 'vitest'

import { anAnswer } from '@/project/fixture'

import InviteForm from './InviteForm.vue'

afterEach(() => {
  vi.unstubAllGlobals()
})

function answering(status: number, body: unknown) {
  const fetch = vi.fn<(path: string, init: RequestInit) => Promise<Response>>(() =>
    Promise.resolve(anAnswer(status, body)),
  )
  vi.stubGlobal('fetch', fetch)
  return fetch
}

async function invite(roles: ('customer' | 'staff')[] = ['customer', 'staff']) {
  const form = mount(InviteForm, { props: { project: 4, roles } })
  await form.get('input[name=email]').setValue(' nora@example.com ')
  await form.get('form').trigger('submit')
  await flushPromises()
  return form
}

test('an invitation is sent, and the form is empty for the next one', async () => {
  const fetch = answering(201, {})
  const form = await invite()
  const [path, init] = fetch.mock.calls[0]!
  expect(path).toBe('/api/projects/4/invitations')
  expect(JSON.parse(init.body as string)).toEqual({ email: 'nora@example.com', name: '', role: 'customer' })
  expect(form.emitted('invited')).toHaveLength(1)
  expect(form.get<HTMLInputElement>('input[name=email]').element.value).toBe('')
})

test('what the server says of a field stands at the field', async () => {
  answering(422, { detail: 'No.', errors: [{ location: 'body.email', message: '“nora” is no address' }] })
  const form = await invite()
  const field = form.get('input[name=email]')
  expect(field.attributes('aria-invalid')).toBe('true')
  expect(form.get(`#${field.attributes('aria-describedby') ?? ''}`).text()).toBe('“nora” is no address.')
  expect(form.emitted('invited')).toBeUndefined()
})

test('what it says of the whole stands above', async () => {
  answering(409, { detail: 'nora@example.com takes part already.' })
  const form = await invite()
  expect(form.get('[role=alert]').text()).toBe('nora@example.com takes part already.')
})

test('who may invite customers only isn’t asked for a role', async () => {
  answering(201, {})
  expect((await invite(['customer'])).find('select').exists()).toBe(false)
})
