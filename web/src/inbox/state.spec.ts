import { describe, expect, it } from 'vitest'

import { archivedOnes, change, everything, item, page, push, then, unreadOnes } from './fixture'
import { InboxState } from './state'
import type { ListKey } from './types'

function ids(state: InboxState, key: ListKey): number[] {
  return state.list(key).map(({ id }) => id)
}

describe('counts', () => {
  it('are those of the highest version, whichever comes first', () => {
    const state = new InboxState()
    state.push(push(7, { unseen: 3, unread: 5 }))
    state.page(everything, page(6, [item(1)]))
    state.take({ unseen: 9, unread: 9, version: 7 })
    expect(state.counts).toEqual({ unseen: 3, unread: 5, version: 7 })
    state.push(push(6, { unseen: 1 }))
    expect(state.counts.version).toBe(7)
    state.push(push(8, { unseen: 0, unread: 4 }))
    expect(state.counts).toEqual({ unseen: 0, unread: 4, version: 8 })
  })

  it('end up the same in two tabs that hear and read in another order', () => {
    const pushes = [
      push(2, { unseen: 1, unread: 1, added: [item(1)] }),
      push(3, { unseen: 2, unread: 2, added: [item(2)] }),
      push(4, {
        unseen: 0,
        unread: 1,
        changed: [change(1, { seen_at: then, read_at: then }), change(2, { seen_at: then })],
      }),
      push(5, { unseen: 0, unread: 0, removed: [2] }),
    ]
    const read = page(3, [item(2), item(1)])
    const ends = [0, 1, 2, 3, 4].map((at) => {
      const tab = new InboxState()
      const events: (() => void)[] = pushes.map((one) => () => {
        tab.push(one)
      })
      // The answer was made at version 3, and arrives whenever it does.
      events.splice(at, 0, () => {
        tab.page(everything, read)
      })
      for (const event of events) event()
      return { counts: tab.counts, list: tab.list(everything), unread: tab.list(unreadOnes) }
    })
    for (const end of ends) expect(end).toEqual(ends[0])
    expect(ends[0]!.list.map(({ id, read_at }) => [id, read_at])).toEqual([[1, then]])
  })
})

describe('pushes', () => {
  it('add, change and remove', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(3), item(2), item(1)]))
    state.push(push(2, { added: [item(4)] }))
    state.push(push(3, { changed: [change(2, { archived_at: then })] }))
    state.push(push(4, { removed: [1] }))
    expect(ids(state, everything)).toEqual([4, 3])
  })

  it('tell what has arrived, once, even if the counts were known already', () => {
    const state = new InboxState()
    state.take({ unseen: 1, unread: 1, version: 9 })
    const arrived = (version: number, id: number, seq = id): number[] =>
      state.push(push(version, { added: [item(id, { seq })] })).map((one) => one.id)
    expect([arrived(8, 1), arrived(8, 1), arrived(10, 1), arrived(11, 1, 5)]).toEqual([[1], [], [], [1]])
  })

  it('move what comes back from the archive to the top', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(3), item(2)]))
    state.push(push(2, { changed: [change(2, { snoozed_until: then })] }))
    expect(ids(state, everything)).toEqual([3])
    state.push(push(3, { added: [item(2, { seq: 9 })] }))
    expect(ids(state, everything)).toEqual([2, 3])
  })

  it('that are older than the page leave its items alone, and are heard for the others', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(2), item(1)]))
    state.page(unreadOnes, page(5, [item(2)])) // item 1 was read at 4, item 2 unread again at 5
    state.push(push(4, { changed: [change(1, { read_at: then }), change(2, { read_at: then })] }))
    expect(state.item(1)?.read_at).toBe(then)
    expect(state.item(2)?.read_at).toBeNull()
  })

  it('that remove win over a page that was made before', () => {
    const state = new InboxState()
    state.push(push(5, { removed: [1] }))
    state.page(everything, page(4, [item(2), item(1)]))
    expect(ids(state, everything)).toEqual([2])
    state.push(push(6, { added: [item(1, { seq: 8 })] }))
    expect(ids(state, everything)).toEqual([1, 2])
  })

  it('of an item that is not known yet wait for it', () => {
    const state = new InboxState()
    state.push(push(5, { changed: [change(1, { read_at: then })] }))
    state.page(everything, page(4, [item(1)]))
    expect(state.item(1)?.read_at).toBe(then)
  })

  it('that say there is more make what is known outdated', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(2), item(1)]))
    state.page(archivedOnes, page(1, []))
    expect(state.needs(everything)).toBe(false)
    state.push(push(2, { more: true, unread: 700 }))
    expect([state.needs(everything), state.needs(archivedOnes)]).toEqual([true, true])
    expect(ids(state, everything)).toEqual([2, 1]) // shown until the new ones are there
    expect(state.counts.unread).toBe(700)
    state.page(everything, page(2, [item(800)], 'next'))
    expect(ids(state, everything)).toEqual([800])
    expect([state.needs(everything), state.needs(archivedOnes)]).toEqual([false, true])
  })
})

describe('lists', () => {
  it('show nothing below the place down to which all is known', () => {
    const state = new InboxState()
    state.page(unreadOnes, page(1, [item(90), item(10)]))
    state.page(everything, page(1, [item(90), item(80, { read_at: then })], 'next'))
    expect(ids(state, everything)).toEqual([90, 80]) // 10 is known, what is between isn't
    expect(state.extent(everything)).toMatchObject({ floor: 80, complete: false })
    state.page(everything, page(1, [item(50, { read_at: then }), item(10)]), 80)
    expect(ids(state, everything)).toEqual([90, 80, 50, 10])
    expect(state.extent(everything).complete).toBe(true)
  })

  it('pass over a page that continues what has been read anew meanwhile', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(90), item(80)], 'next'))
    state.push(push(2, { more: true }))
    state.page(everything, page(1, [item(70)], 'next'), 80)
    expect(ids(state, everything)).toEqual([90, 80])
    state.page(everything, page(2, [item(200), item(190)], 'next'))
    state.page(everything, page(2, [item(70)], 'next'), 80)
    expect(state.extent(everything).floor).toBe(190)
    expect(ids(state, everything)).toEqual([200, 190])
  })

  it('are read anew when something unknown comes into them, and only then', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(90), item(80)], 'next'))
    state.page(archivedOnes, page(1, [item(40, { archived_at: then })]))
    state.push(push(2, { changed: [change(30, { archived_at: then })] })) // in another tab, further down
    expect([state.needs(everything), state.needs(archivedOnes)]).toEqual([false, true])
    state.page(archivedOnes, page(2, [item(40, { archived_at: then }), item(30, { archived_at: then })]))
    expect(state.needs(archivedOnes)).toBe(false)
    expect(ids(state, archivedOnes)).toEqual([40, 30])
    // One that the page doesn't bring, since it is of elsewhere, doesn't make it be read for ever.
    state.push(push(3, { changed: [change(20, { archived_at: then })] }))
    state.page(archivedOnes, page(3, [item(40, { archived_at: then })]))
    expect(state.needs(archivedOnes)).toBe(false)
  })

  it('can be of one group', () => {
    const state = new InboxState()
    const chat: ListKey = { state: 'inbox', group: 'chat:1' }
    state.page(everything, page(1, [item(2, { group: 'chat:1' }), item(1)]))
    expect(state.knows(chat)).toBe(false)
    state.page(chat, page(1, [item(2, { group: 'chat:1' })]))
    state.push(push(2, { added: [item(3, { group: 'chat:1' }), item(4)] }))
    expect(ids(state, chat)).toEqual([3, 2])
  })
})

describe('what is assumed', () => {
  it('is shown at once, and taken back where it is refused', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(2), item(1)]))
    const takeBack = state.assume([1, 99], { archived_at: then })
    expect(ids(state, everything)).toEqual([2])
    takeBack()
    expect(ids(state, everything)).toEqual([2, 1])
  })

  it('gives way to what the server says', () => {
    const state = new InboxState()
    state.page(everything, page(1, [item(1)]))
    const takeBack = state.assume([1], { read_at: then })
    state.push(push(2, { changed: [change(1, { read_at: '2026-11-22T13:00:00Z' })] }))
    takeBack()
    expect(state.item(1)?.read_at).toBe('2026-11-22T13:00:00Z')
  })
})
