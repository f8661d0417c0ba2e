import { effectScope, nextTick, ref } from 'vue'
import { describe, expect, it } from 'vitest'

import { tell, type Look } from './announcing'
import { item, then } from './fixture'
import { isOnScreen, useOnScreen } from './onScreen'

const look: Look = { hidden: false, isOnScreen: () => false, me: 5, inboxOpen: false }
const ids = (items: readonly { id: number }[]): number[] => items.map(({ id }) => id)

describe('tell', () => {
  it('shows what arrives, in the order in which it did', () => {
    expect(ids(tell([item(3), item(2)], look).toasts)).toEqual([2, 3])
  })

  it('sums up more than three', () => {
    const telling = tell([item(1), item(2), item(3), item(4)], look)
    expect([telling.toasts.length, telling.more]).toEqual([0, 4])
  })

  it('keeps quiet about what is on the screen, seen, read, or one’s own', () => {
    const items = [
      item(1, { group: 'chat:12' }),
      item(2, { seen_at: then }),
      item(3, { read_at: then }),
      item(4, { data: { actor_id: 5 } }),
      item(5, { group: 'chat:13' }),
      item(6, { group: null, data: null }),
    ]
    expect(ids(tell(items, { ...look, isOnScreen: (group) => group === 'chat:12' }).toasts)).toEqual([5, 6])
  })

  it('keeps quiet where the notifications themselves are shown', () => {
    expect(tell([item(1)], { ...look, inboxOpen: true })).toEqual({ toasts: [], more: 0, browser: [] })
  })

  it('leaves it to the browser while nobody sees the page, whatever it shows', () => {
    const telling = tell([item(1, { group: 'chat:12' }), item(2, { read_at: then })], {
      ...look,
      hidden: true,
      inboxOpen: true,
      isOnScreen: () => true,
    })
    expect([telling.toasts, telling.more, ids(telling.browser)]).toEqual([[], 0, [1]])
  })
})

describe('useOnScreen', () => {
  it('counts what is shown by how many', async () => {
    const group = ref<string | null>('chat:12')
    const first = effectScope()
    const second = effectScope()
    first.run(() => {
      useOnScreen(group)
    })
    second.run(() => {
      useOnScreen('chat:12')
    })
    expect([isOnScreen('chat:12'), isOnScreen('chat:13'), isOnScreen(null)]).toEqual([true, false, false])
    group.value = 'chat:13'
    await nextTick()
    expect([isOnScreen('chat:12'), isOnScreen('chat:13')]).toEqual([true, true])
    second.stop()
    group.value = null
    expect([isOnScreen('chat:12'), isOnScreen('chat:13')]).toEqual([false, false])
    group.value = 'chat:14'
    first.stop()
    expect(isOnScreen('chat:14')).toBe(false)
  })
})
