import type { Centrifuge, TransportName } from 'centrifuge'

/** What Go asks for: one line of JSON. It is answered by an Answer with the same id. */
export type Command = {
  id: number
  /** The page whose clients are meant. Chromium only. */
  page?: string
} & (
  | { op: 'page'; page: string; url: string }
  | { op: 'closePage'; page: string }
  | OpenClient
  | { op: 'close'; client: string }
  | { op: 'connect'; client: string }
  | { op: 'disconnect'; client: string }
  | Subscribe
  | { op: 'unsubscribe'; client: string; channel: string }
  | { op: 'publish'; client: string; channel: string; data: unknown }
  | { op: 'history'; client: string; channel: string; limit: number; since?: Position; reverse?: boolean }
  | { op: 'presence'; client: string; channel: string }
  | { op: 'presenceStats'; client: string; channel: string }
  | { op: 'rpc'; client: string; method: string; data: unknown }
  | { op: 'token'; client: string; ask: number; token: string }
  | { op: 'stream'; client: string; url: string }
)

export interface OpenClient {
  op: 'open'
  client: string
  transport: TransportName
  format: 'json' | 'protobuf'
  endpoint: string
  emulation: string
  token?: string
  /** Ask for a token when one is needed: an event `token`, answered by the command `token`. */
  asks?: boolean
}

export interface Subscribe {
  op: 'subscribe'
  client: string
  channel: string
  token?: string
  asks?: boolean
  since?: Position
  recoverable?: boolean
  positioned?: boolean
  joinLeave?: boolean
}

export interface Position {
  offset: number
  epoch: string
}

export type Answer = { id: number; result: unknown } | { id: number; error: Failure }

export interface Failure {
  code: number
  message: string
}

/** What happened to a client, as it happened: one line of JSON. */
export type Happening = { event: string; client: string } & Record<string, unknown>

/** What differs between Node and a page. */
export interface Surroundings {
  /** The SDK's class, for each format. */
  json: typeof Centrifuge
  protobuf: typeof Centrifuge
  websocket: unknown
  eventsource: new (url: string) => EventSource
  emit: (happening: Happening) => void
}

/** Answers a command with what it results in, or throws. */
export type Handle = (command: Command) => Promise<unknown>

declare global {
  interface Window {
    Centrifuge: typeof Centrifuge
    /** Given by the program that runs Chromium. */
    emit: (happening: Happening) => Promise<void>
    handle: Handle
  }
}
