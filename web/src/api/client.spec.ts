import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { ApiError, errorText, get, onSessionGone, patch, post } from './client'

const answer = (status: number, body?: unknown, headers: Record<string, string> = {}): Response =>
  new Response(body === undefined ? null : JSON.stringify(body), { status, headers })
const fetched = vi.fn<typeof fetch>()

beforeEach(() => {
  fetched.mockReset()
  vi.stubGlobal('fetch', fetched)
})
afterEach(() => {
  vi.unstubAllGlobals()
  onSessionGone(() => undefined)
})

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  const error: unknown = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  )
  expect(error).toBeInstanceOf(ApiError)
  return error as ApiError
}

describe('client', () => {
  it('sends JSON with the cookie, and reads JSON', async () => {
    fetched.mockResolvedValue(answer(200, { id: 3 }))
    await expect(patch('/api/tasks/3', { title: 'x' })).resolves.toEqual({ id: 3 })
    const [path, init] = fetched.mock.calls[0]!
    expect(path).toBe('/api/tasks/3')
    expect(init).toMatchObject({ method: 'PATCH', body: '{"title":"x"}', credentials: 'same-origin' })
    expect(init?.headers).toMatchObject({ 'Content-Type': 'application/json' })
  })

  it('has nothing to read in a 204', async () => {
    fetched.mockResolvedValue(answer(204))
    await expect(post('/api/conversations/1/typing')).resolves.toBeUndefined()
  })

  it('tells what is wrong with which field', async () => {
    const errors = [
      { location: 'body.name', message: 'expected length >= 1' },
      { location: 'body.name', message: 'second' },
      { location: 'body.due_on', message: '“x” is no date.' },
    ]
    fetched.mockResolvedValue(
      answer(422, { title: 'Unprocessable Entity', status: 422, detail: 'Look again.', errors }),
    )
    const error = await failure(post('/api/projects', {}))
    expect(error).toMatchObject({ status: 422, detail: 'Look again.', temporary: false })
    expect(error.fields).toEqual({ name: 'Expected length >= 1.', due_on: '“x” is no date.' })
  })

  it.each([
    [502, '<html>Bad Gateway</html>', /restarted or is busy/],
    [413, '', /too large/],
    [418, '{}', /status 418/],
  ])('has a sentence for a %d that isn’t ours', async (status, text, sentence) => {
    fetched.mockResolvedValue(new Response(text, { status }))
    const error = await failure(post('/x'))
    expect(error.detail).toMatch(sentence)
  })

  it('knows when to try again', async () => {
    fetched.mockResolvedValue(answer(429, { detail: 'Wait.' }, { 'Retry-After': '30' }))
    expect(await failure(post('/x'))).toMatchObject({ retryAfter: 30, temporary: true })
  })

  it('tries a GET once more where the server isn’t reached', async () => {
    fetched.mockRejectedValueOnce(new TypeError('network')).mockResolvedValueOnce(answer(200, 1))
    await expect(get('/x')).resolves.toBe(1)
    fetched.mockRejectedValue(new TypeError('network'))
    expect(await failure(get('/x'))).toMatchObject({ status: 0, temporary: true })
    expect(fetched).toHaveBeenCalledTimes(4)
  })

  it('tries nothing else twice', async () => {
    fetched.mockRejectedValue(new TypeError('network'))
    await failure(post('/x'))
    fetched.mockResolvedValue(answer(500, {}))
    await failure(get('/x'))
    expect(fetched).toHaveBeenCalledTimes(2)
  })

  it('gives up after the timeout, and says so', async () => {
    fetched.mockImplementation(
      (_, init) =>
        new Promise((_resolve, reject) => {
          init?.signal?.addEventListener('abort', () => {
            reject(new DOMException('', 'TimeoutError'))
          })
        }),
    )
    expect((await failure(post('/x', {}, { timeout: 5 }))).detail).toMatch(/too long/)
  })

  it('passes on that it was aborted', async () => {
    const controller = new AbortController()
    fetched.mockImplementation(() => {
      controller.abort(new Error('left'))
      return Promise.reject(new DOMException('', 'AbortError'))
    })
    await expect(get('/x', { signal: controller.signal })).rejects.toThrow('left')
    expect(fetched).toHaveBeenCalledOnce()
  })

  it('tells that the session is gone, but for those who ask in any case and for /v1', async () => {
    const gone = vi.fn()
    onSessionGone(gone)
    fetched.mockImplementation(() => Promise.resolve(answer(401, {})))
    await failure(get('/api/me', { anonymous: true }))
    await failure(get('/v1/inbox'))
    expect(gone).not.toHaveBeenCalled()
    expect((await failure(get('/api/overview'))).detail).toMatch(/signed out/)
    expect(gone).toHaveBeenCalledOnce()
  })

  it('has words for whatever was thrown', () => {
    expect(errorText(new ApiError(409, 'Ann was faster.'))).toBe('Ann was faster.')
    expect(errorText(new TypeError('x is undefined'))).not.toContain('undefined')
  })
})
