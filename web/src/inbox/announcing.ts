// Which arrivals are worth interrupting somebody for, and how. Rules without a page, so that they can be tried.

import type { Item } from './types'

export interface Look {
  /** Nobody sees the page. */
  hidden: boolean
  /** Whether the group is shown. */
  isOnScreen: (group: string | null) => boolean
  /** Who looks; what they did themselves is no news. */
  me: number
  /** The list of notifications itself is open. */
  inboxOpen: boolean
}

/** What somebody should be told of: nothing seen, nothing of their own, nothing that they see anyway. */
export function worthTelling(items: readonly Item[], look: Omit<Look, 'hidden'>): Item[] {
  if (look.inboxOpen) return []
  return items.filter(
    (item) =>
      item.seen_at === null && item.read_at === null && item.data?.actor_id !== look.me && !look.isOnScreen(item.group),
  )
}

export interface Telling {
  /** Toasts to show. */
  toasts: Item[]
  /** How many more are summed up in one. */
  more: number
  /** For the browser to show, as nobody sees the page. */
  browser: Item[]
}

/** How many toasts there are at a time. */
export const mostToasts = 3

export function tell(items: readonly Item[], look: Look): Telling {
  if (look.hidden) {
    // What the page would show is not seen either.
    const unseen = worthTelling(items, { ...look, isOnScreen: () => false, inboxOpen: false })
    return { toasts: [], more: 0, browser: unseen }
  }
  const worth = worthTelling(items, look).sort((a, b) => a.seq - b.seq)
  if (worth.length <= mostToasts) return { toasts: worth, more: 0, browser: [] }
  return { toasts: [], more: worth.length, browser: [] }
}
