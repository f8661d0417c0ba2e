// Who is signed in on this page.

import { computed, readonly, ref, shallowRef, type ComputedRef } from 'vue'

import { ApiError, del, get, onSessionGone, post } from './api/client'
import type { Me } from './api/types'

type State = 'unknown' | 'in' | 'out' | 'failed'

const state = ref<State>('unknown')
const me = shallowRef<Me | null>(null)
const error = shallowRef<ApiError | null>(null)
/** Who was signed in last: between signing out and leaving the page its parts may be drawn once more. */
let last: Me | null = null
/** Whether the session ended by itself, and not because somebody signed out here. */
const expired = ref(false)

// Tabs tell each other: a tab of one person must not go on with the cookie of another.
const tabs = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('session')
tabs?.addEventListener('message', () => {
  void load()
})

let loading: Promise<void> | undefined

/** Asks the server who is signed in. Never rejects: what went wrong is in the state. */
export function load(): Promise<void> {
  loading ??= fetchMe().finally(() => (loading = undefined))
  return loading
}

async function fetchMe(): Promise<void> {
  try {
    enter(await get<Me>('/api/me', { anonymous: true }))
  } catch (caught) {
    if (caught instanceof ApiError && caught.status === 401) {
      leave(state.value === 'in')
      return
    }
    error.value = caught instanceof ApiError ? caught : new ApiError(0, 'The page couldn’t be loaded. Try again.')
    if (state.value !== 'in') state.value = 'failed'
  }
}

function enter(person: Me): void {
  if (me.value && me.value.id !== person.id) {
    location.reload() // nothing of the former person may stay on the page
    return
  }
  me.value = last = person
  error.value = null
  expired.value = false
  state.value = 'in'
}

function leave(byItself: boolean): void {
  expired.value = byItself
  me.value = null
  state.value = 'out'
}

onSessionGone(() => {
  if (state.value === 'in') leave(true)
})

/** Takes the person whom an answer has signed in, as those to a password reset and an invitation do. If somebody else was, the page
 * loads anew, at to. */
export function signedIn(person: Me, to = '/'): void {
  if (me.value && me.value.id !== person.id) {
    tabs?.postMessage('in')
    location.assign(to) // as somebody else: nothing of the former person may stay on the page
    return
  }
  enter(person)
  tabs?.postMessage('in')
}

/** Takes what the person has changed of themselves. */
export function updated(person: Me): void {
  if (me.value?.id === person.id) me.value = last = person
}

/** Rejects with an ApiError: 401 or 422 where address or password are wrong, 429 after too many attempts. */
export async function signIn(email: string, password: string): Promise<void> {
  signedIn(await post<Me>('/api/session', { email, password }, { anonymous: true }))
}

/** Signs in as one of the demo's people. */
export async function signInDemo(personID: number): Promise<void> {
  signedIn(await post<Me>('/api/demo/session', { person_id: personID }, { anonymous: true }))
}

/** Signs out here. Rejects with an ApiError where the server didn't do it; the page is still signed in then. */
export async function signOut(): Promise<void> {
  try {
    await del('/api/session', { anonymous: true })
  } catch (caught) {
    if (!(caught instanceof ApiError && caught.status === 401)) throw caught
  }
  leave(false)
  tabs?.postMessage('out')
}

const session = {
  state: readonly(state),
  me: computed(() => me.value),
  error: computed(() => error.value),
  expired: readonly(expired),
  isIn: computed(() => state.value === 'in'),
}

/** The session, to read. */
export function useSession(): typeof session {
  return session
}

/** Who is signed in, for pages that are only shown to somebody who is. */
export function useMe(): ComputedRef<Me> {
  return computed(() => {
    const person = me.value ?? last
    if (!person) throw new Error('nobody is signed in')
    return person
  })
}
