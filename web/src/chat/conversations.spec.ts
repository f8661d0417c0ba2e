import { describe, expect, it } from 'vitest'

import type { Conversation } from '../api/types'
import { general, inOrder, unread, waiting } from './conversations'

const conversation = (id: number, changes: Partial<Conversation> = {}): Conversation => ({
  id,
  project_id: 1,
  task_id: null,
  subject: `conversation ${id}`,
  last_seq: 0,
  last_message_at: null,
  awaiting_since: null,
  version: 1,
  ...changes,
})

describe('conversations', () => {
  const list = [
    conversation(3, { last_message_at: '2026-03-01T10:00:00Z', last_seq: 5 }),
    conversation(2, { last_message_at: '2026-02-01T10:00:00Z' }),
    conversation(1, { task_id: 9, last_message_at: '2026-03-02T10:00:00Z', awaiting_since: '2026-03-02T10:00:00Z' }),
  ]

  it('puts the general one first, then those with the newest messages', () => {
    expect(general(list)?.id).toBe(2)
    expect(inOrder(list, [conversation(4), conversation(3)]).map((each) => each.id)).toEqual([2, 1, 3, 4])
  })

  it('counts what wants looking at', () => {
    const read = new Map([[3, 2]])
    expect(unread(list[0]!, read)).toBe(3)
    expect(unread(conversation(3, { last_seq: 5, read_seq: 4 }), read)).toBe(1)
    expect(waiting(list, read, null, 'customer')).toBe(1)
    expect(waiting(list, read, null, 'staff')).toBe(2)
    expect(waiting(list, read, 3, 'staff')).toBe(1)
  })
})
