// What is known of the inbox, and how pages that were read and changes that were pushed come together, whichever comes first.
//
// Each item remembers the version of the inbox that it is known of. A page is one moment's, a push is the next moment's
// difference; what is older than what one has of an item is left out, so the order of arrival doesn't matter.

import type { Change, Counts, Item, ItemState, ListKey, Page, Push } from './types'

interface Known {
  item: Item
  version: number
}

/** How much of a list is known. */
export interface Extent {
  /** The lowest seq from which on all is known; Infinity: nothing is. */
  floor: number
  /** There is nothing below. */
  complete: boolean
  /** Something in it changed of which only the place is known: it has to be read anew. */
  stale: boolean
  /** The moment that it is known of. */
  version: number
}

const unknownExtent: Extent = { floor: Infinity, complete: false, stale: false, version: -1 }
const mostLoose = 500

export class InboxState {
  counts: Counts = { unseen: 0, unread: 0, version: -1 }
  readonly #items = new Map<number, Known>()
  readonly #extents = new Map<string, Extent>()
  /** What is gone, and when it went: a page that is older must not bring it back. */
  readonly #gone = new Map<number, number>()
  /** Changes of items that aren't known yet: a page that is older than they are may bring them. */
  readonly #loose = new Map<number, { change: Change; version: number }>()
  #outdated = false

  /** Takes a page of a list; `from` is the seq below which it begins, Infinity for the first one. */
  page(key: ListKey, page: Page, from = Infinity): void {
    const { version } = page.counts
    const first = from === Infinity
    if (this.#outdated) {
      if (!first) return // of a list that isn't there any more
      this.#forget()
    }
    this.take(page.counts)
    for (const item of page.items) this.#take(item, version)

    const before = this.extent(key)
    if (!first && before.floor !== from) return // it was read anew meanwhile
    const complete = page.next === undefined
    this.#extents.set(id(key), {
      floor: complete ? 0 : (page.items.at(-1)?.seq ?? from),
      complete,
      stale: !first && before.stale,
      version: first ? version : Math.min(version, before.version),
    })
    this.#findStale()
  }

  /** Takes a push. Returns what has arrived with it: what wasn't known before, or has come back to the top. */
  push(push: Push): Item[] {
    const newer = push.version > this.counts.version
    if (newer) this.counts = { unseen: push.unseen, unread: push.unread, version: push.version }
    if (push.more) {
      if (newer) this.#outdated = true
      return []
    }
    const arrived = push.added.filter((item) => item.seq > (this.#items.get(item.id)?.item.seq ?? 0))
    for (const item of push.added) this.#take(item, push.version)
    for (const change of push.changed) this.#change(change, push.version)
    for (const gone of push.removed) {
      const known = this.#items.get(gone)
      if (known && known.version >= push.version) continue
      this.#items.delete(gone)
      this.#gone.set(gone, push.version)
      trim(this.#gone)
    }
    this.#findStale()
    return arrived
  }

  /** Takes counts that an answer had. */
  take(counts: Counts): void {
    if (counts.version > this.counts.version) {
      this.counts = { unseen: counts.unseen, unread: counts.unread, version: counts.version }
    }
  }

  /** Shows a change before the server has made it; answers how to take it back. */
  assume(ids: readonly number[], change: Partial<ItemState>): () => void {
    const before = new Map<number, Known>()
    for (const one of ids) {
      const known = this.#items.get(one)
      if (!known) continue
      before.set(one, known)
      this.#items.set(one, { item: { ...known.item, ...change }, version: known.version })
    }
    return () => {
      for (const [one, known] of before) {
        // What the server has said since is right.
        if (this.#items.get(one)?.version === known.version) this.#items.set(one, known)
      }
    }
  }

  /** What is known may have changed anywhere: whatever is read next replaces it. */
  outdate(): void {
    this.#outdated = true
  }

  /** Whether a list has to be read, again or for the first time. */
  needs(key: ListKey): boolean {
    const { floor, stale } = this.extent(key)
    return this.#outdated || stale || floor === Infinity
  }

  /** Whether anything of a list was ever read. */
  knows(key: ListKey): boolean {
    return this.extent(key).floor !== Infinity
  }

  extent(key: ListKey): Extent {
    return this.#extents.get(id(key)) ?? unknownExtent
  }

  /** The items of a list, as far as all of them are known: newest first. */
  list(key: ListKey): Item[] {
    const { floor } = this.extent(key)
    if (floor === Infinity) return []
    return [...this.#items.values()]
      .map(({ item }) => item)
      .filter((item) => item.seq >= floor && belongs(item, key))
      .sort((a, b) => b.seq - a.seq)
  }

  item(one: number): Item | undefined {
    return this.#items.get(one)?.item
  }

  #take(item: Item, version: number): void {
    const known = this.#items.get(item.id)
    if (known && known.version > version) return
    if ((this.#gone.get(item.id) ?? -1) > version) return
    const loose = this.#loose.get(item.id)
    this.#loose.delete(item.id)
    if (loose && loose.version > version) {
      this.#items.set(item.id, { item: { ...item, ...loose.change }, version: loose.version })
    } else {
      this.#items.set(item.id, { item, version })
    }
  }

  #change(change: Change, version: number): void {
    const known = this.#items.get(change.id)
    if (!known) {
      if ((this.#loose.get(change.id)?.version ?? -1) < version) this.#loose.set(change.id, { change, version })
      trim(this.#loose)
    } else if (known.version < version) {
      this.#items.set(change.id, { item: { ...known.item, ...change }, version })
    }
  }

  /** An item of which only its place and state are known may belong where a list is taken for complete. */
  #findStale(): void {
    for (const [name, extent] of this.#extents) {
      if (extent.stale || extent.floor === Infinity) continue
      const { state } = parse(name)
      for (const { change, version } of this.#loose.values()) {
        if (version > extent.version && change.seq >= extent.floor && inState(change, state)) {
          this.#extents.set(name, { ...extent, stale: true })
          break
        }
      }
    }
  }

  #forget(): void {
    this.#outdated = false
    this.#items.clear()
    this.#extents.clear()
    this.#loose.clear()
  }
}

/** Whether an item is in a list now. */
export function belongs(item: Item, { state, group }: ListKey): boolean {
  return (group === null || item.group === group) && inState(item, state)
}

function inState(item: ItemState, state: ListKey['state']): boolean {
  if (state === 'archived') return item.archived_at !== null
  if (item.archived_at !== null || item.snoozed_until !== null) return false
  return state === 'inbox' || item.read_at === null
}

function id({ state, group }: ListKey): string {
  return `${state} ${group ?? ''}`
}

function parse(name: string): { state: ListKey['state'] } {
  return { state: name.slice(0, name.indexOf(' ')) as ListKey['state'] }
}

function trim(map: Map<number, unknown>): void {
  for (const oldest of map.keys()) {
    if (map.size <= mostLoose) return
    map.delete(oldest)
  }
}
