import { effectScope, ref } from 'vue'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

import { everything, item, page, push, then } from './fixture'
import type { Push } from './types'
import { makeInbox, type Inbox } from './useInbox'
import { useInboxList } from './useInboxList'

const requests = vi.hoisted(() => ({ readPage: vi.fn(), readCounts: vi.fn(), mark: vi.fn() }))
vi.mock('./requests', () => requests)

const channelState = ref('subscribing')
let deliver: (push: Push) => void
vi.mock('../live/useChannel', () => ({
  useChannel: (_: unknown, { onDelta }: { onDelta: (push: Push) => void }) => {
    deliver = onDelta
    return { state: channelState, present: ref([]) }
  },
}))
vi.mock('../session', () => ({ useSession: () => ({ me: ref({ id: 5 }) }) }))

let scope = effectScope()
let inbox: Inbox

/** Whatever was answered has arrived. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve()
}

beforeEach(() => {
  channelState.value = 'subscribing'
  requests.readCounts.mockResolvedValue({ unseen: 0, unread: 0, version: 1 })
  scope = effectScope()
  inbox = scope.run(makeInbox)!
})
afterEach(() => {
  scope.stop()
  vi.clearAllMocks()
})

describe('useInbox', () => {
  it('asks for the counts once it follows', async () => {
    requests.readCounts.mockResolvedValue({ unseen: 2, unread: 3, version: 4 })
    await settle()
    expect(requests.readCounts).not.toHaveBeenCalled()
    channelState.value = 'subscribed'
    await settle()
    expect([inbox.unseen.value, inbox.unread.value]).toEqual([2, 3])
  })

  it('reads anew after an interruption in which something happened, and not after another', async () => {
    channelState.value = 'subscribed'
    await settle()
    requests.readPage.mockResolvedValue(page(1, [item(1)]))
    await inbox.load(everything)
    for (const [version, needed] of [
      [1, false],
      [3, true],
    ] as const) {
      channelState.value = 'subscribing'
      await settle()
      requests.readCounts.mockResolvedValue({ unseen: 0, unread: 0, version })
      channelState.value = 'subscribed'
      await settle()
      expect(inbox.needs(everything)).toBe(needed)
    }
  })

  it('tells of what arrives, once', () => {
    const heard = vi.fn()
    const stop = inbox.onArrival(heard)
    deliver(push(2, { added: [item(1)] }))
    deliver(push(2, { added: [item(1)] }))
    deliver(push(3, { changed: [] }))
    stop()
    deliver(push(4, { added: [item(3)] }))
    expect(heard.mock.calls.map(([items]) => (items as { id: number }[]).map(({ id }) => id))).toEqual([[1]])
  })

  it('takes back what the server refuses', async () => {
    requests.readPage.mockResolvedValue(page(1, [item(1)]))
    await inbox.load(everything)
    requests.mark.mockRejectedValue(new Error('refused'))
    const done = inbox.setArchived([1], true)
    expect(inbox.list(everything)).toEqual([])
    await expect(done).rejects.toThrow('refused')
    expect(inbox.list(everything)).toHaveLength(1)
  })

  it('marks only up to what was shown', async () => {
    requests.mark.mockResolvedValue({ changed: 1, unseen: 1, unread: 1, version: 9 })
    await inbox.markUpTo('read', 7)
    await inbox.markUpTo('seen', 8, 'chat:1')
    expect(requests.mark.mock.calls).toEqual([
      [{ state: 'read', up_to_seq: 7 }],
      [{ state: 'seen', up_to_seq: 8, group: 'chat:1' }],
    ])
    expect(inbox.unseen.value).toBe(1)
  })
})

describe('useInboxList', () => {
  it('reads when it is looked at, and anew when it has to be', async () => {
    const { useInbox } = await import('./useInbox')
    scope.run(useInbox)
    requests.readPage.mockResolvedValue(page(1, [item(2), item(1, { read_at: then })]))
    const active = ref(false)
    const list = scope.run(() => useInboxList(everything, active))!
    await settle()
    expect(requests.readPage).not.toHaveBeenCalled()
    active.value = true
    await settle()
    await settle()
    expect(list.items.value.map(({ id }) => id)).toEqual([2, 1])
    requests.readPage.mockRejectedValue(new Error('away'))
    deliver(push(2, { more: true }))
    await settle()
    await settle()
    expect(list.error.value).toBeInstanceOf(Error)
    expect(list.items.value).toHaveLength(2)
    requests.readPage.mockResolvedValue(page(2, [item(9)]))
    list.retry()
    await settle()
    await settle()
    expect(list.items.value.map(({ id }) => id)).toEqual([9])
    expect(list.error.value).toBeUndefined()
  })
})
