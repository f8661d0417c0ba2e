import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { connect, disconnect, useConnection } from './connection'

const sdk = vi.hoisted(() => {
  type Handler = (context: { code: number; reason: string }) => void
  class Centrifuge {
    static made: Centrifuge[] = []
    readonly options: { getToken: () => Promise<string> }
    connected = false
    readonly #handlers = new Map<string, Handler>()
    constructor(_: unknown, options: { getToken: () => Promise<string> }) {
      this.options = options
      Centrifuge.made.push(this)
    }
    on(event: string, handler: Handler): void {
      this.#handlers.set(event, handler)
    }
    connect(): void {
      this.connected = true
    }
    disconnect(): void {
      this.connected = false
      this.emit('disconnected')
    }
    emit(event: string, code = 0): void {
      this.#handlers.get(event)?.({ code, reason: '' })
    }
  }
  class UnauthorizedError extends Error {}
  return { Centrifuge, UnauthorizedError }
})
vi.mock('centrifuge', () => sdk)

const { state, isLive } = useConnection()
const answer = (status: number, body: unknown): Response => new Response(JSON.stringify(body), { status })

beforeEach(() => {
  sdk.Centrifuge.made.length = 0
  vi.stubGlobal(
    'fetch',
    vi.fn(() => Promise.resolve(answer(200, { token: 't', expires_at: '' }))),
  )
})
afterEach(() => {
  disconnect()
  vi.unstubAllGlobals()
})

async function connected(): Promise<InstanceType<typeof sdk.Centrifuge>> {
  connect()
  const made = await vi.waitUntil(() => sdk.Centrifuge.made[0], { timeout: 40_000 })
  made.emit('connecting', 0)
  made.emit('connected')
  return made
}

describe('connection', () => {
  it('says what state it is in', async () => {
    expect(state.value).toBe('idle')
    const made = await connected()
    expect(made.connected).toBe(true)
    expect(isLive.value).toBe(true)
    made.emit('connecting', 1)
    expect(state.value).toBe('reconnecting')
    expect(isLive.value).toBe(false)
    made.emit('connected')
    expect(state.value).toBe('connected')
  })

  it('is offline while the device is', async () => {
    const made = await connected()
    const onLine = vi.spyOn(navigator, 'onLine', 'get').mockReturnValue(false)
    made.emit('connecting', 1)
    expect(state.value).toBe('offline')
    onLine.mockReturnValue(true)
    window.dispatchEvent(new Event('online'))
    expect(state.value).toBe('reconnecting')
  })

  it('makes no connection where it was ended before the SDK was there', async () => {
    connect()
    disconnect()
    await import('centrifuge')
    await Promise.resolve()
    expect(sdk.Centrifuge.made).toHaveLength(0)
    expect(state.value).toBe('idle')
  })

  it('gives up for good only where the server says so', async () => {
    const made = await connected()
    made.emit('disconnected', 3500)
    expect(state.value).toBe('fatal')
  })

  it('fetches a token each time that the SDK asks, since it asks where the one it has isn’t good any more', async () => {
    const made = await connected()
    await expect(made.options.getToken()).resolves.toBe('t')
    await expect(made.options.getToken()).resolves.toBe('t')
    const calls = vi.mocked(fetch).mock.calls.filter(([path]) => path === '/api/token')
    expect(calls).toHaveLength(2)
  })

  it('tells the SDK to stay away where nobody is signed in', async () => {
    const made = await connected()
    vi.mocked(fetch).mockResolvedValue(answer(401, { detail: 'Sign in.' }))
    await expect(made.options.getToken()).rejects.toBeInstanceOf(sdk.UnauthorizedError)
  })

  it('lets the SDK try again where the server isn’t reached', async () => {
    const made = await connected()
    vi.mocked(fetch).mockRejectedValue(new TypeError('network'))
    await expect(made.options.getToken()).rejects.not.toBeInstanceOf(sdk.UnauthorizedError)
  })
})
