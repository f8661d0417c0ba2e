// The connection token: short-lived, made from the session. It opens the live connection, and is what /v1 asks for.

import { post } from '../api/client'

interface Token {
  token: string
  expires_at: string
}

// They are good for five minutes. Their age is what counts here: the clock of a device may be wrong, its intervals aren't.
const good = 4 * 60_000

let current: { token: string; at: number } | undefined
let fetching: Promise<Token> | undefined

/** A token that is valid for a while yet. Rejects with an ApiError. */
export async function connectionToken(): Promise<string> {
  if (current && performance.now() - current.at < good) return current.token
  fetching ??= post<Token>('/api/token').finally(() => (fetching = undefined))
  const { token } = await fetching
  current = { token, at: performance.now() }
  return token
}

/** Headers for /v1: `get('/v1/inbox', { headers: await bearer() })`. */
export async function bearer(): Promise<Record<string, string>> {
  return { Authorization: `Bearer ${await connectionToken()}` }
}

/** The next one is fetched anew: for another person, or after it was refused. */
export function forgetToken(): void {
  current = undefined
}
