// What the page asks of /v1/inbox, with the connection token.

import { ApiError, get, post, put, type RequestOptions } from '../api/client'
import { bearer, forgetToken } from '../live/token'
import type { Counts, ListKey, Page } from './types'
import type { Preferences } from './preferences'

/** Sends with the token, once more with a new one if it was refused: it may have expired on a device that slept. */
async function authorized<T>(send: (options: RequestOptions) => Promise<T>): Promise<T> {
  try {
    return await send({ headers: await bearer(), anonymous: true })
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) throw error
    forgetToken()
    return send({ headers: await bearer() })
  }
}

/** How many items a page has. */
export const pageSize = 40

export function readPage({ state, group }: ListKey, before = Infinity): Promise<Page> {
  const query = new URLSearchParams({ state, limit: String(pageSize) })
  if (group !== null) query.set('group', group)
  if (before !== Infinity) query.set('before', String(before))
  return authorized((options) => get<Page>(`/v1/inbox?${query.toString()}`, options))
}

export function readCounts(): Promise<Counts> {
  return authorized((options) => get<Counts>('/v1/inbox/counts', options))
}

export type Mark = { state: 'seen' | 'read' | 'archived'; up_to_seq: number; group?: string } | MarkSingle

export interface MarkSingle {
  state: 'read' | 'unread' | 'archived' | 'inbox' | 'snoozed'
  ids: number[]
  until?: string
}

export function mark(what: Mark): Promise<Counts & { changed: number }> {
  return authorized((options) => post<Counts & { changed: number }>('/v1/inbox/mark', what, options))
}

/** Says that the person is doing something, so that mail waits. */
export function touch(): Promise<undefined> {
  return authorized((options) => post('/v1/inbox/touch', {}, options))
}

export function readPreferences(): Promise<Preferences> {
  return authorized((options) => get<Preferences>('/v1/inbox/preferences', options))
}

export function writePreferences(preferences: Omit<Preferences, 'known_kinds'>): Promise<Preferences> {
  return authorized((options) => put<Preferences>('/v1/inbox/preferences', preferences, options))
}
