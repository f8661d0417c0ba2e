// The connection token: short-lived, made from the session. It opens the live connection, and is what /v1 asks for.

import { post } from '../api/client'

interface Token {
  token: string
  expires_at: string
}

const early = 30_000 // ms before it expires a new one is fetched, so that none expires on its way

let current: Token | undefined
let fetching: Promise<Token> | undefined

/** A token that is valid for a while yet. Rejects with an ApiError. */
export async function connectionToken(): Promise<string> {
  if (current && Date.parse(current.expires_at) - Date.now() > early) return current.token
  fetching ??= post<Token>('/api/token').finally(() => (fetching = undefined))
  current = await fetching
  return current.token
}

/** Headers for /v1: `get('/v1/inbox', { headers: await bearer() })`. */
export async function bearer(): Promise<Record<string, string>> {
  return { Authorization: `Bearer ${await connectionToken()}` }
}

/** The next one is fetched anew: for another person, or after it was refused. */
export function forgetToken(): void {
  current = undefined
}
