// The rows of an open conversation: messages with what stands between and under them.

import type { Message, Reader } from '../api/types'
import { dayHeading } from '../time'
import type { Row } from './heights'
import type { Pending } from './outbox'

export type ChatRow = Row &
  (
    | { kind: 'start' }
    | { kind: 'more' }
    | { kind: 'day'; label: string }
    | { kind: 'new' }
    | {
        kind: 'message'
        message: Message
        first: boolean
        seen: readonly number[]
        /** Older ones are yet to come before it, which may take its head away. */
        edge: boolean
      }
    | { kind: 'pending'; pending: Pending; first: boolean }
  )

export interface RowsInput {
  messages: readonly Message[]
  pending: readonly Pending[]
  readers: readonly Reader[]
  /** The person who looks at it. */
  me: number
  /** What "today" is about, ms since 1970. */
  now: number
  /** The first message stands behind this seq that is marked as new; null: no mark. */
  newAfter: number | null
  /** Whether there are older and newer ones than these. */
  older: boolean
  newer: boolean
  /** How many characters a line holds, roughly. */
  columns: number
}

/** Messages of one author stand together if no more than this lies between them, in ms. */
const together = 5 * 60_000

const none: readonly number[] = []

/** The key of a message's row: one's own keep theirs when they turn from pending to stored. */
export function rowKey(message: Pick<Message, 'author_id' | 'key' | 'seq'>, me: number): string {
  return message.author_id === me ? `k${message.key}` : `m${message.seq}`
}

/** What stands before a message. */
interface Former {
  author: number | null
  at: number
  day: number
}

function continues(former: Former | null, author: number | null, at: number): boolean {
  return former !== null && author !== null && former.author === author && at - former.at <= together
}

/** The reader's day of a moment; later days have greater ones. */
function dayKey(time: number): number {
  const at = new Date(time)
  return at.getFullYear() * 10_000 + at.getMonth() * 100 + at.getDate()
}

/** Lays a conversation out as rows. */
export function layOut(input: RowsInput): ChatRow[] {
  const { messages, me } = input
  const rows: ChatRow[] = []
  const seen = lastSeen(input.readers, me)
  if (input.older) rows.push({ kind: 'more', key: 'older', estimate: 48 })
  else if (messages.length > 0) rows.push({ kind: 'start', key: 'start', estimate: 96 })

  let former = null as Former | null
  let marked = input.newAfter === null
  for (const message of messages) {
    const at = Date.parse(message.created_at)
    const day = dayKey(at)
    let first = !continues(former, message.author_id, at)
    if (former?.day !== day) {
      rows.push({ kind: 'day', key: `d${day}`, estimate: 44, label: dayHeading(message.created_at, input.now) })
      first = true
    }
    if (!marked && message.seq > (input.newAfter ?? 0)) {
      marked = true
      if (message.seq === (input.newAfter ?? 0) + 1 && message.author_id !== me) {
        rows.push({ kind: 'new', key: 'new', estimate: 32 })
        first = true
      }
    }
    const by = (seen.get(message.seq) ?? none).filter((person) => person !== message.author_id)
    rows.push({
      kind: 'message',
      key: rowKey(message, me),
      estimate: estimate(message.deleted_at ? '' : message.body, message.attachments.length, first, input.columns),
      message,
      first,
      edge: input.older && former === null,
      seen: by.length > 0 ? by : none,
    })
    former = { author: message.author_id, at, day }
  }
  if (input.newer) rows.push({ kind: 'more', key: 'newer', estimate: 48 })
  else appendPending(rows, input, former)
  return rows
}

function appendPending(rows: ChatRow[], input: RowsInput, last: Former | null): void {
  let former = last
  for (const pending of input.pending) {
    const day = dayKey(pending.at)
    const first = !continues(former, input.me, pending.at)
    if (former !== null && former.day < day) {
      rows.push({
        kind: 'day',
        key: `d${day}`,
        estimate: 44,
        label: dayHeading(new Date(pending.at).toISOString(), input.now),
      })
    }
    rows.push({
      kind: 'pending',
      key: `k${pending.key}`,
      estimate: estimate(pending.body, pending.attachments.length, first, input.columns),
      pending,
      first,
    })
    former = { author: input.me, at: pending.at, day: former !== null && former.day > day ? former.day : day }
  }
}

/** Who has seen up to which message, oneself aside. */
function lastSeen(readers: readonly Reader[], me: number): Map<number, number[]> {
  const seen = new Map<number, number[]>()
  for (const reader of readers) {
    if (reader.person_id === me || reader.read_seq < 1) continue
    const people = seen.get(reader.read_seq)
    if (people) people.push(reader.person_id)
    else seen.set(reader.read_seq, [reader.person_id])
  }
  return seen
}

function estimate(body: string, attachments: number, first: boolean, columns: number): number {
  let lines = 1
  if (body.length > columns || body.includes('\n')) {
    lines = 0
    for (const line of body.split('\n')) lines += Math.max(1, Math.ceil(line.length / columns))
  }
  return (first ? 36 : 6) + lines * 22 + attachments * 64
}
