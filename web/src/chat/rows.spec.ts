import { describe, expect, it } from 'vitest'

import type { Message } from '../api/types'
import { dayHeading } from '../time'
import { layOut, type ChatRow, type RowsInput } from './rows'
import { message } from './sample'

const me = 7
const now = Date.UTC(2026, 2, 3, 12)
const input = (messages: Message[], changes: Partial<RowsInput> = {}): RowsInput => ({
  messages,
  pending: [],
  readers: [],
  me,
  now,
  newAfter: null,
  older: false,
  newer: false,
  columns: 60,
  ...changes,
})
const said = (rows: ChatRow[]): string[] =>
  rows.map((row) => {
    if (row.kind === 'message') return `${row.message.seq}${row.first ? ' first' : ''}`
    if (row.kind === 'day') return row.label
    if (row.kind === 'pending') return `pending ${row.pending.key}`
    return row.kind
  })
const at = (time: string) => ({ created_at: time })

describe('layOut', () => {
  it('knows the message whose head may go when older ones come', () => {
    const edges = (older: boolean) =>
      layOut(input([message(5), message(6)], { older })).flatMap((row) => (row.kind === 'message' ? [row.edge] : []))
    expect(edges(true)).toEqual([true, false])
    expect(edges(false)).toEqual([false, false])
  })

  it('separates days', () => {
    const rows = layOut(
      input([
        message(1, at('2026-02-23T23:59:00Z')),
        message(2, at('2026-02-28T00:01:00Z')),
        message(3, at('2026-03-02T23:59:00Z')),
        message(4, at('2026-03-03T00:01:00Z')),
      ]),
    )
    expect(said(rows)).toEqual([
      'start',
      dayHeading('2026-02-23T23:59:00Z', now),
      '1 first',
      'Saturday',
      '2 first',
      'Yesterday',
      '3 first',
      'Today',
      '4 first',
    ])
  })

  it('groups what one author wrote in a few minutes', () => {
    const rows = layOut(
      input([
        message(1, at('2026-03-03T09:00:00Z')),
        message(2, at('2026-03-03T09:04:00Z')),
        message(3, at('2026-03-03T09:10:00Z')),
        message(4, { ...at('2026-03-03T09:10:10Z'), author_id: 8 }),
        message(5, { ...at('2026-03-03T09:10:20Z'), author_id: null }),
        message(6, { ...at('2026-03-03T09:10:30Z'), author_id: null }),
      ]),
    )
    expect(said(rows)).toEqual(['start', 'Today', '1 first', '2', '3 first', '4 first', '5 first', '6 first'])
  })

  it('marks the first unread message, unless it is one’s own', () => {
    const messages = [message(1), message(2, { author_id: 8 }), message(3, { author_id: 8 })]
    expect(said(layOut(input(messages, { newAfter: 1 })))).toEqual([
      'start',
      'Yesterday',
      '1 first',
      'new',
      '2 first',
      '3',
    ])
    expect(said(layOut(input([message(1), message(2)], { newAfter: 1 })))).not.toContain('new')
    expect(said(layOut(input(messages.slice(2), { newAfter: 1, older: true })))).not.toContain('new')
    expect(said(layOut(input(messages, { newAfter: 0 })))).not.toContain('new')
  })

  it('says who has seen it, where each has got to, but not of one’s own messages', () => {
    const messages = [message(1, { author_id: 7 }), message(2, { author_id: 8 }), message(3, { author_id: 7 })]
    const reader = (person_id: number, read_seq: number) => ({ person_id, read_seq, read_at: '' })
    const rows = layOut(input(messages, { readers: [reader(7, 3), reader(8, 2), reader(9, 2), reader(10, 3)] }))
    const seen = rows.flatMap((row) => (row.kind === 'message' ? [row.seen] : []))
    expect(seen).toEqual([[], [9], [10]])
  })

  it('shows what is under way at the end, and only where the end is shown', () => {
    const pending = [
      { key: 'x', body: 'hi', mentions: [], attachments: [], at: now, state: 'sending' as const, reason: '' },
    ]
    expect(said(layOut(input([message(1)], { pending })))).toEqual([
      'start',
      'Yesterday',
      '1 first',
      'Today',
      'pending x',
    ])
    expect(said(layOut(input([message(1)], { pending, newer: true })))).toEqual([
      'start',
      'Yesterday',
      '1 first',
      'more',
    ])
  })

  it('keeps the row of one’s own message when it turns from pending to stored', () => {
    const pending = [
      { key: 'x', body: 'hi', mentions: [], attachments: [], at: now, state: 'sending' as const, reason: '' },
    ]
    const before = layOut(input([], { pending })).map((row) => row.key)
    const after = layOut(input([message(1, { key: 'x' })])).map((row) => row.key)
    expect(after).toContain(before.at(-1))
  })

  it('gives no two rows one key', () => {
    const messages = Array.from({ length: 300 }, (_, i) =>
      message(i + 1, { author_id: (i % 3) + 6, created_at: new Date(now - (300 - i) * 3_600_000).toISOString() }),
    )
    const keys = layOut(input(messages, { newAfter: 100, older: true, newer: true })).map((row) => row.key)
    expect(new Set(keys).size).toBe(keys.length)
  })
})
