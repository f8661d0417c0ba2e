// The conversations of a project, as a list shows them.

import type { Conversation, Role } from '../api/types'

/** The one about the whole project that was there first. */
export function general(conversations: readonly Conversation[]): Conversation | undefined {
  return conversations.reduce<Conversation | undefined>(
    (first, each) => (each.task_id === null && (!first || each.id < first.id) ? each : first),
    undefined,
  )
}

/** The general one first, then those with the newest messages. `extra` are some that may not be among them yet. */
export function inOrder(conversations: readonly Conversation[], extra: readonly Conversation[]): Conversation[] {
  const known = new Set(conversations.map((each) => each.id))
  const all = [...conversations, ...extra.filter((each) => !known.has(each.id))]
  const first = general(all)
  const time = (each: Conversation): string => each.last_message_at ?? ''
  return all.sort((a, b) => {
    if (a === first || b === first) return a === first ? -1 : 1
    return time(a) === time(b) ? b.id - a.id : time(a) < time(b) ? 1 : -1
  })
}

/** How many messages of a conversation somebody hasn't read. */
export function unread(conversation: Conversation, read: ReadonlyMap<number, number>): number {
  return Math.max(0, conversation.last_seq - Math.max(read.get(conversation.id) ?? 0, conversation.read_seq ?? 0))
}

/** How many other conversations want looking at: unread, or, of the staff, awaiting an answer. */
export function waiting(
  conversations: readonly Conversation[],
  read: ReadonlyMap<number, number>,
  open: number | null,
  role: Role,
): number {
  return conversations.filter(
    (each) => each.id !== open && (unread(each, read) > 0 || (role !== 'customer' && each.awaiting_since !== null)),
  ).length
}
