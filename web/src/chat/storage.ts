// What the chat keeps in the browser: drafts and unconfirmed messages, per person and conversation.

import type { Attachment } from '../api/types'
import type { OutboxStore, Pending } from './outbox'

/** At most so many conversations have something kept, and so many unconfirmed messages each. */
const conversationLimit = 50
const pendingLimit = 50

type Shelf = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>

/** What is kept of a draft. */
export interface Draft {
  text: string
  mentioned: [string, number][]
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

function read(shelf: Shelf, key: string): unknown {
  try {
    return JSON.parse(shelf.getItem(key) ?? 'null')
  } catch {
    return null
  }
}

function write(shelf: Shelf, key: string, value: unknown): void {
  // A full or forbidden storage costs what would have been kept, and nothing else.
  try {
    if (value === null) shelf.removeItem(key)
    else shelf.setItem(key, JSON.stringify(value))
  } catch {
    return
  }
}

/** Remembers which keys are in use, and drops the one that is longest unused when there are too many. */
function touch(shelf: Shelf, index: string, key: string, used: boolean): void {
  const former = read(shelf, index)
  const keys = Array.isArray(former)
    ? former.filter((each): each is string => typeof each === 'string' && each !== key)
    : []
  if (used) keys.push(key)
  for (const old of keys.splice(0, Math.max(0, keys.length - conversationLimit))) write(shelf, old, null)
  write(shelf, index, keys.length > 0 ? keys : null)
}

function attachment(value: unknown): Attachment[] {
  if (!isRecord(value) || typeof value.id !== 'number' || typeof value.name !== 'string') return []
  return [
    {
      id: value.id,
      name: value.name,
      media_type: typeof value.media_type === 'string' ? value.media_type : '',
      size: typeof value.size === 'number' ? value.size : 0,
      image: value.image === true,
    },
  ]
}

function pending(value: unknown): Pending[] {
  if (!isRecord(value) || typeof value.key !== 'string' || typeof value.body !== 'string') return []
  const list = (field: unknown): unknown[] => (Array.isArray(field) ? field : [])
  return [
    {
      key: value.key,
      body: value.body,
      mentions: list(value.mentions).filter((id): id is number => typeof id === 'number'),
      attachments: list(value.attachments).flatMap(attachment),
      at: typeof value.at === 'number' ? value.at : 0,
      state: value.state === 'failed' ? 'failed' : 'sending',
      reason: typeof value.reason === 'string' ? value.reason : '',
    },
  ]
}

/** Keeps unconfirmed messages of one person in one conversation. Each change reads first: another tab may write there too. */
export function outboxStore(person: number, conversation: number, shelf: Shelf = localStorage): OutboxStore {
  const index = `chat.outbox.${person}`
  const key = `${index}.${conversation}`
  const load = (): Pending[] => {
    const stored = read(shelf, key)
    return Array.isArray(stored) ? stored.flatMap(pending) : []
  }
  const save = (list: Pending[]): void => {
    write(shelf, key, list.length > 0 ? list.slice(-pendingLimit) : null)
    touch(shelf, index, key, list.length > 0)
  }
  return {
    load,
    put: (item) => {
      save([...load().filter((each) => each.key !== item.key), item].sort((a, b) => a.at - b.at))
    },
    remove: (gone) => {
      save(load().filter((each) => each.key !== gone))
    },
  }
}

/** Keeps what somebody has begun to write in a conversation. */
export function draftStore(person: number, conversation: number, shelf: Shelf = localStorage) {
  const index = `chat.draft.${person}`
  const key = `${index}.${conversation}`
  return {
    load: (): Draft => {
      const stored = read(shelf, key)
      if (!isRecord(stored) || typeof stored.text !== 'string') return { text: '', mentioned: [] }
      const isPair = (pair: unknown): pair is [string, number] =>
        Array.isArray(pair) && typeof pair[0] === 'string' && typeof pair[1] === 'number'
      return { text: stored.text, mentioned: Array.isArray(stored.mentioned) ? stored.mentioned.filter(isPair) : [] }
    },
    save: (draft: Draft): void => {
      write(shelf, key, draft.text === '' ? null : draft)
      touch(shelf, index, key, draft.text !== '')
    },
  }
}
