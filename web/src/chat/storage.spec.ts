import { describe, expect, it } from 'vitest'

import type { Pending } from './outbox'
import { shelf } from './sample'
import { draftStore, outboxStore } from './storage'

const pending = (key: string, at = 1): Pending => ({
  key,
  body: `body of ${key}`,
  mentions: [3],
  attachments: [{ id: 1, name: 'a.png', media_type: 'image/png', size: 12, image: true }],
  at,
  state: 'failed',
  reason: 'refused',
})

describe('outboxStore', () => {
  it('keeps what is put for the same person and conversation', () => {
    const storage = shelf()
    outboxStore(7, 1, storage).put(pending('a'))
    expect(outboxStore(7, 1, storage).load()).toEqual([pending('a')])
    expect(outboxStore(7, 2, storage).load()).toEqual([])
    expect(outboxStore(8, 1, storage).load()).toEqual([])
  })

  it('doesn’t undo what another tab has put', () => {
    const storage = shelf()
    const [here, there] = [outboxStore(7, 1, storage), outboxStore(7, 1, storage)]
    here.put(pending('a', 1))
    there.put(pending('b', 2))
    here.remove('a')
    expect(there.load().map((each) => each.key)).toEqual(['b'])
  })

  it.each(['', '{', '5', '[null, 3, {"key": 1}]', '{"key":"a"}'])('reads %j as nothing', (text) => {
    const storage = shelf()
    storage.setItem('chat.outbox.7.1', text)
    expect(outboxStore(7, 1, storage).load()).toEqual([])
  })

  it('is bounded', () => {
    const storage = shelf()
    const one = outboxStore(7, 1, storage)
    for (let i = 0; i < 80; i++) one.put(pending(`k${i}`, i))
    expect(one.load()).toHaveLength(50)
    expect(one.load().at(-1)?.key).toBe('k79')
    for (let id = 2; id < 80; id++) outboxStore(7, id, storage).put(pending('x'))
    expect(storage.length).toBeLessThanOrEqual(51)
    expect(outboxStore(7, 79, storage).load()).toHaveLength(1)
  })

  it('leaves nothing behind', () => {
    const storage = shelf()
    outboxStore(7, 1, storage).put(pending('a'))
    outboxStore(7, 1, storage).remove('a')
    expect(storage.length).toBe(0)
  })

  it('does without a storage that refuses', () => {
    const refusing = {
      getItem: () => null,
      removeItem: () => undefined,
      setItem: () => {
        throw new DOMException('full', 'QuotaExceededError')
      },
    }
    const store = outboxStore(7, 1, refusing)
    store.put(pending('a'))
    expect(store.load()).toEqual([])
  })
})

describe('draftStore', () => {
  it('keeps a draft until it is empty', () => {
    const storage = shelf()
    const drafts = draftStore(7, 1, storage)
    expect(drafts.load()).toEqual({ text: '', mentioned: [] })
    drafts.save({ text: 'hi @Ann', mentioned: [['Ann', 3]] })
    expect(draftStore(7, 1, storage).load()).toEqual({ text: 'hi @Ann', mentioned: [['Ann', 3]] })
    drafts.save({ text: '', mentioned: [] })
    expect(storage.length).toBe(0)
  })
})
