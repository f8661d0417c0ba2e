// Speaks with the server: JSON both ways, the session's cookie, and errors that a person can read.

/** Why a request has failed. */
export class ApiError extends Error {
  /** HTTP's; 0 where there was no answer. */
  readonly status: number
  /** A sentence for people. */
  readonly detail: string
  /** Sentences for people by name of the field, as `name` or `tasks[0].title`. */
  readonly fields: Readonly<Record<string, string>>
  /** Seconds after which to try again, where the server says so. */
  readonly retryAfter: number | undefined

  constructor(status: number, detail: string, fields: Record<string, string> = {}, retryAfter?: number) {
    super(detail)
    this.name = 'ApiError'
    this.status = status
    this.detail = detail
    this.fields = fields
    this.retryAfter = retryAfter
  }

  /** Whether the server wasn't reached or had trouble, so that trying again may help. */
  get temporary(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }
}

export interface RequestOptions {
  /** Ends the request; it then rejects with the signal's reason, not with an ApiError. */
  signal?: AbortSignal
  /** Milliseconds until it is given up. */
  timeout?: number
  /** A 401 is an answer like any other here, and doesn't mean that the session is gone. */
  anonymous?: boolean
  headers?: Record<string, string>
}

const unreachable = 'The server can’t be reached. Check your connection and try again.'
const defaultTimeout = 20_000
const retryDelay = 400

let sessionGone: () => void = () => undefined

/** Sets what happens when the server says that nobody is signed in. */
export function onSessionGone(then: () => void): void {
  sessionGone = then
}

/** Reads. A request that found no server is tried once more. */
export async function get<T>(path: string, options: RequestOptions = {}): Promise<T> {
  try {
    return await request<T>('GET', path, undefined, options)
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 0) throw error
    await new Promise((resolve) => setTimeout(resolve, retryDelay))
    options.signal?.throwIfAborted()
    return request<T>('GET', path, undefined, options)
  }
}

export function post<T = undefined>(path: string, body?: unknown, options?: RequestOptions): Promise<T> {
  return request<T>('POST', path, body ?? {}, options)
}

export function put<T = undefined>(path: string, body: unknown, options?: RequestOptions): Promise<T> {
  return request<T>('PUT', path, body, options)
}

export function patch<T = undefined>(path: string, body: unknown, options?: RequestOptions): Promise<T> {
  return request<T>('PATCH', path, body, options)
}

export function del<T = undefined>(path: string, options?: RequestOptions): Promise<T> {
  return request<T>('DELETE', path, undefined, options)
}

async function request<T>(method: string, path: string, body: unknown, options: RequestOptions = {}): Promise<T> {
  const timeout = AbortSignal.timeout(options.timeout ?? defaultTimeout)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  const headers: Record<string, string> = { Accept: 'application/json', ...options.headers }
  if (body !== undefined) headers['Content-Type'] = 'application/json'

  let answer: Response
  let text: string
  try {
    answer = await fetch(path, {
      method,
      headers,
      signal,
      credentials: 'same-origin',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    text = await answer.text()
  } catch {
    options.signal?.throwIfAborted()
    if (timeout.aborted) throw new ApiError(0, 'The server takes too long to answer. Try again in a moment.')
    throw new ApiError(0, unreachable)
  }
  if (answer.ok) return (text === '' ? undefined : parse(text)) as T

  // /v1 goes by token, and one that has expired says nothing of the session.
  if (answer.status === 401 && !options.anonymous && path.startsWith('/api/')) sessionGone()
  throw problem(answer.status, text, answer.headers.get('Retry-After'))
}

/** What an answer that isn't a success says: RFC 9457 where it is ours, a sentence by status where something in between answered. */
export function problem(status: number, text: string, retryAfter: string | null): ApiError {
  const fields: Record<string, string> = {}
  let detail = ''
  const said = parse(text)
  if (isObject(said)) {
    if (typeof said.detail === 'string') detail = said.detail
    for (const entry of Array.isArray(said.errors) ? said.errors : []) {
      if (!isObject(entry) || typeof entry.message !== 'string' || typeof entry.location !== 'string') continue
      fields[entry.location.replace(/^body\./, '')] ??= sentence(entry.message)
    }
  }
  const seconds = Number(retryAfter)
  return new ApiError(
    status,
    detail || fallback(status),
    fields,
    retryAfter !== null && seconds >= 0 ? seconds : undefined,
  )
}

function fallback(status: number): string {
  switch (status) {
    case 401:
      return 'You are signed out. Sign in again.'
    case 403:
      return 'You may not do this.'
    case 404:
      return 'This isn’t there any more, or it isn’t yours to see.'
    case 413:
      return 'This is too large.'
    case 429:
      return 'That was too often. Wait a moment and try again.'
    case 502:
    case 503:
    case 504:
      return 'The server is being restarted or is busy. Try again in a moment.'
    default:
      return `The server couldn’t do this (status ${status}). Try again in a moment.`
  }
}

/** The words of an error as shown, whatever was thrown. */
export function errorText(error: unknown): string {
  if (error instanceof ApiError) return error.detail
  return 'Something went wrong on this page. Load it again.'
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function sentence(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.?]$/.test(upper) ? upper : `${upper}.`
}
