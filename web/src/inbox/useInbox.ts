// The inbox of whoever is signed in: one for the whole page, kept up to date while somebody is.

import { computed, effectScope, shallowRef, triggerRef, watch, type ComputedRef } from 'vue'

import { useChannel } from '../live/useChannel'
import { useSession } from '../session'
import * as requests from './requests'
import { InboxState } from './state'
import type { Item, ItemState, ListKey, Push } from './types'

export interface Inbox {
  unseen: ComputedRef<number>
  unread: ComputedRef<number>
  /** The items of a list, as far as they were read: newest first. */
  list: (key: ListKey) => Item[]
  /** Whether a list was read at all, and whether there is more of it. */
  isKnown: (key: ListKey) => boolean
  hasMore: (key: ListKey) => boolean
  needs: (key: ListKey) => boolean
  /** Reads the beginning of a list, or what follows. Rejects with an ApiError. */
  load: (key: ListKey) => Promise<void>
  loadMore: (key: ListKey) => Promise<void>
  /** Nothing with a higher seq is touched: nobody has been shown that. */
  markUpTo: (state: 'seen' | 'read' | 'archived', seq: number, group?: string | null) => Promise<void>
  setRead: (ids: readonly number[], read: boolean) => Promise<void>
  setArchived: (ids: readonly number[], archived: boolean) => Promise<void>
  snooze: (id: number, until: Date) => Promise<void>
  /** Calls with each item that arrives while the page is open; answers how to stop. */
  onArrival: (heard: (items: Item[]) => void) => () => void
}

let shared: Inbox | undefined

export function useInbox(): Inbox {
  shared ??= effectScope(true).run(makeInbox)
  if (!shared) throw new Error('the inbox could not be made')
  return shared
}

/** Makes one; all but tests want the shared one. */
export function makeInbox(): Inbox {
  const state = shallowRef(new InboxState())
  const heard = new Set<(items: Item[]) => void>()
  const { me } = useSession()
  const user = computed(() => me.value?.id)
  watch(user, () => (state.value = new InboxState()))

  // The counts' version says whether something was missed, so it is followed from now on and needs no position.
  const channel = useChannel<Push>(() => (user.value === undefined ? null : `inbox:${user.value}`), {
    onDelta: (push) => {
      const arrived = state.value.push(push)
      triggerRef(state)
      if (arrived.length > 0) for (const hear of heard) hear(arrived)
    },
    onReload: () => {
      state.value.outdate()
      triggerRef(state)
    },
  })
  watch(
    channel.state,
    (now) => {
      if (now === 'subscribed') void look()
    },
    { immediate: true },
  )

  /** After each beginning and interruption: what came meanwhile was not pushed to us. */
  async function look(): Promise<void> {
    const asked = state.value
    try {
      const counts = await requests.readCounts()
      if (asked !== state.value) return
      if (counts.version > asked.counts.version && asked.counts.version >= 0) asked.outdate()
      asked.take(counts)
      triggerRef(state)
    } catch {
      // What is shown stays; lists that are looked at say themselves that they can't be read.
    }
  }

  async function read(key: ListKey, from?: number): Promise<void> {
    const asked = state.value
    const page = await requests.readPage(key, from)
    if (asked !== state.value) return // somebody else is signed in
    asked.page(key, page, from)
    triggerRef(state)
  }

  async function mark(what: requests.Mark, ids: readonly number[], change: Partial<ItemState>): Promise<void> {
    const asked = state.value
    const takeBack = asked.assume(ids, change)
    triggerRef(state)
    try {
      asked.take(await requests.mark(what))
    } catch (error) {
      takeBack()
      throw error
    } finally {
      triggerRef(state)
    }
  }

  const now = (): string => new Date().toISOString()
  return {
    unseen: computed(() => state.value.counts.unseen),
    unread: computed(() => state.value.counts.unread),
    list: (key) => state.value.list(key),
    isKnown: (key) => state.value.knows(key),
    needs: (key) => state.value.needs(key),
    hasMore: (key) => state.value.knows(key) && !state.value.extent(key).complete,
    load: (key) => read(key),
    loadMore: (key) => read(key, state.value.extent(key).floor),
    markUpTo: (to, seq, group = null) =>
      mark({ state: to, up_to_seq: seq, ...(group === null ? {} : { group }) }, [], {}),
    setRead: (ids, isRead) =>
      mark(
        { state: isRead ? 'read' : 'unread', ids: [...ids] },
        ids,
        isRead ? { read_at: now(), seen_at: now() } : { read_at: null },
      ),
    setArchived: (ids, archived) =>
      mark({ state: archived ? 'archived' : 'inbox', ids: [...ids] }, ids, { archived_at: archived ? now() : null }),
    snooze: (id, until) =>
      mark({ state: 'snoozed', ids: [id], until: until.toISOString() }, [id], { snoozed_until: until.toISOString() }),
    onArrival: (hear) => {
      heard.add(hear)
      return () => heard.delete(hear)
    },
  }
}
