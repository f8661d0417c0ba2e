// The shapes of /v1/inbox and of what inbox:ID pushes.

import type { Time } from '../api/types'

/** What Projects puts into a notification's data. */
export interface NoticeData {
  actor?: string
  actor_id?: number
  project?: string
  project_id?: number
  task?: string
  subject?: string
  excerpt?: string
  group_title?: string
  seq?: number
}

/** What marking changes of an item. */
export interface ItemState {
  seen_at: Time | null
  read_at: Time | null
  archived_at: Time | null
  snoozed_until: Time | null
}

/** A notification. */
export interface Item extends ItemState {
  id: number
  /** Its place in the inbox: rises in the order in which items became visible. */
  seq: number
  kind: string
  title: string
  text: string
  group: string | null
  cause: string | null
  link: string | null
  data: NoticeData | null
  created_at: Time
  expires_at: Time | null
}

export interface Counts {
  unseen: number
  unread: number
  /** Of two, the higher one is the newer. */
  version: number
}

export interface Page {
  items: Item[]
  counts: Counts
  /** The page that follows; none after the last. */
  next?: string
}

export type Change = ItemState & { id: number; seq: number }

/** What inbox:ID pushes. */
export interface Push extends Counts {
  added: Item[]
  changed: Change[]
  removed: number[]
  /** So much changed at once that reading anew is shorter. */
  more: boolean
}

export type ListState = 'inbox' | 'unread' | 'archived'

/** Which list: a state, of one group or of all. */
export interface ListKey {
  state: ListState
  group: string | null
}
