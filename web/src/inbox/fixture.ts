// Notifications for specs.

import type { Change, Item, ListKey, Page, Push } from './types'

export const everything: ListKey = { state: 'inbox', group: null }
export const unreadOnes: ListKey = { state: 'unread', group: null }
export const archivedOnes: ListKey = { state: 'archived', group: null }

export const then = '2026-11-22T12:00:00Z'

export function item(id: number, change: Partial<Item> = {}): Item {
  return {
    id,
    seq: id,
    kind: 'task.completed',
    title: 'Task completed',
    text: `Ann completed task ${id}`,
    group: 'project:7',
    cause: `task:${id}`,
    link: `/projects/7?task=${id}`,
    data: { actor: 'Ann', actor_id: 1, group_title: 'Kitchen' },
    created_at: then,
    expires_at: null,
    seen_at: null,
    read_at: null,
    archived_at: null,
    snoozed_until: null,
    ...change,
  }
}

export function change(id: number, state: Partial<Change> = {}): Change {
  return { id, seq: id, seen_at: null, read_at: null, archived_at: null, snoozed_until: null, ...state }
}

export function page(version: number, items: Item[], next?: string): Page {
  const unread = items.filter(({ read_at }) => read_at === null).length
  return { items, counts: { unseen: unread, unread, version }, ...(next ? { next } : {}) }
}

export function push(version: number, part: Partial<Push> = {}): Push {
  return { unseen: 0, unread: 0, version, added: [], changed: [], removed: [], more: false, ...part }
}
