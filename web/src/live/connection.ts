// The page's one live connection.

import type { Centrifuge, TransportEndpoint } from 'centrifuge'
import { computed, readonly, ref } from 'vue'

import { ApiError } from '../api/client'
import { load } from '../session'
import { Channels } from './channels'
import { connectionToken, forgetToken } from './token'

/**
 * `connecting` is the first attempt, `reconnecting` any later one, `offline` one that waits for the network. `idle` is nobody
 * signed in, `fatal` one that the server has ended for good: the page has to be loaded again.
 */
export type ConnectionState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'offline' | 'fatal'

const state = ref<ConnectionState>('idle')
let client: Centrifuge | undefined
/** Counts connections, to tell whether one is still wanted when the SDK has been loaded. */
let wanted = 0

/** The channels of the connection; useChannel is how components take part. */
export const channels = new Channels()

function endpoints(): TransportEndpoint[] {
  const { protocol, host } = location
  const socket = `${protocol === 'https:' ? 'wss:' : 'ws:'}//${host}`
  return [
    { transport: 'websocket', endpoint: `${socket}/connection/websocket` },
    { transport: 'http_stream', endpoint: '/connection/http_stream' },
    { transport: 'sse', endpoint: '/connection/sse' },
  ]
}

/** The page shows what REST says before the SDK is there: it isn't part of what has to be loaded first. */
async function open(number: number): Promise<void> {
  const { Centrifuge, UnauthorizedError } = await import('centrifuge')
  if (number !== wanted) return // signed out meanwhile
  const made = new Centrifuge(endpoints(), {
    emulationEndpoint: '/emulation',
    minReconnectDelay: 250,
    maxReconnectDelay: 8_000,
    getToken: async () => {
      try {
        forgetToken() // the SDK asks where the one it has isn't good any more
        return await connectionToken()
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) throw new UnauthorizedError(error.detail)
        throw error // the SDK tries again
      }
    },
  })
  made.on('connecting', ({ code }) => {
    state.value = code === 0 ? 'connecting' : lost()
  })
  made.on('connected', () => (state.value = 'connected'))
  made.on('disconnected', ({ code }) => {
    if (client !== made) return // ended here
    state.value = code === 1 ? 'idle' : 'fatal'
    void load() // signed out elsewhere, perhaps: then sign-in is what to show
  })
  client = made
  channels.attach(made)
  made.connect()
}

function lost(): ConnectionState {
  return navigator.onLine ? 'reconnecting' : 'offline'
}

if (typeof window !== 'undefined') {
  const look = (): void => {
    if (state.value === 'reconnecting' || state.value === 'offline') state.value = lost()
  }
  window.addEventListener('online', look)
  window.addEventListener('offline', look)
}

/** Connects, and stays so until disconnect. */
export function connect(): void {
  const number = ++wanted
  state.value = 'connecting'
  open(number).catch(() => {
    if (number !== wanted) return
    state.value = lost()
    setTimeout(() => {
      if (number === wanted) connect()
    }, 3_000)
  })
}

/** Ends the connection and its subscriptions. */
export function disconnect(): void {
  const ended = client
  client = undefined
  wanted++
  channels.clear()
  ended?.disconnect()
  forgetToken()
  state.value = 'idle'
}

const live = {
  state: readonly(state),
  /** Whether what the page shows is kept up to date. */
  isLive: computed(() => state.value === 'connected'),
}

/** The state of the live connection. */
export function useConnection(): typeof live {
  return live
}
