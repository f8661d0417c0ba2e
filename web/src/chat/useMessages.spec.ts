import { beforeEach, describe, expect, it, vi } from 'vitest'
import { effectScope, type EffectScope } from 'vue'

import { ApiError } from '../api/client'
import type { Chat, ChatDelta, ChatSignal, Message, MessagePage } from '../api/types'
import type { ChannelOptions } from '../live/useChannel'
import { requests } from './requests'
import { flush, message } from './sample'
import { useMessages } from './useMessages'

type Channel = ChannelOptions<ChatDelta, ChatSignal>
const channel = vi.hoisted((): { options: unknown } => ({ options: null }))
vi.mock('../live/useChannel', () => ({
  useChannel: (_name: string, options: unknown) => {
    channel.options = options
  },
}))
vi.mock('./requests')

const run = (from: number, to: number, changes: Partial<Message> = {}): Message[] =>
  Array.from({ length: to - from + 1 }, (_, i) => message(from + i, changes))

function chat(messages: Message[], last: number, read = last): Chat {
  return {
    conversation: {
      id: 1,
      project_id: 1,
      task_id: null,
      subject: 'General',
      last_seq: last,
      last_message_at: null,
      awaiting_since: null,
      version: 1,
      read_seq: read,
    },
    messages,
    readers: [],
    positions: { 'chat:1': { epoch: 'e', offset: last } },
  }
}

let scope: EffectScope | undefined
let place: number | null
const heard: number[] = []

async function open(first: Chat, at: number | null = null) {
  vi.mocked(requests.open).mockResolvedValueOnce(first)
  const opened = scope!.run(() =>
    useMessages(1, {
      at,
      place: () => place,
      onSignal: () => undefined,
      onLive: (live) => heard.push(live.seq),
      onMessage: () => undefined,
      onReader: () => undefined,
    }),
  )!
  await flush()
  const { onDelta, onReload, onGone } = channel.options as Required<Channel>
  return {
    ...opened,
    push: (...messages: Message[]) => {
      for (const each of messages) onDelta({ type: 'message', message: each }, {})
      opened.flush()
    },
    lose: onReload,
    forbid: onGone,
    seqs: () => opened.messages.value.map((each) => each.seq),
  }
}

/** A page that is answered when it is told to. */
function pageLater(): (page: MessagePage) => Promise<void> {
  let answer: (page: MessagePage) => void = () => undefined
  vi.mocked(requests.page).mockImplementationOnce(() => new Promise((resolve) => (answer = resolve)))
  return async (page) => {
    answer(page)
    await flush()
  }
}

beforeEach(() => {
  scope?.stop()
  scope = effectScope()
  place = null
  heard.length = 0
  vi.mocked(requests.open).mockReset()
  vi.mocked(requests.page).mockReset()
})

describe('useMessages', () => {
  it('shows the page around the first unread message, and what comes behind it only when the gap is filled', async () => {
    const view = await open(chat(run(1, 50), 120, 20))
    view.push(message(121))
    expect(view.seqs().at(-1)).toBe(50)
    expect(view.lastSeq.value).toBe(121)
    expect(view.atEnd.value).toBe(false)
    const answer = pageLater()
    void view.more('newer')
    expect(requests.page).toHaveBeenCalledWith(1, { from: 'after', seq: 50 }, expect.anything())
    await answer({ messages: run(51, 120), last_seq: 121 })
    expect(view.seqs()).toEqual(run(1, 121).map((each) => each.seq))
    expect(view.atEnd.value).toBe(true)
  })

  it('keeps an edit that overtook the page which holds the original', async () => {
    const view = await open(chat(run(51, 100), 100))
    const answer = pageLater()
    void view.more('older')
    view.push(message(30, { body: 'edited', version: 2 }))
    await answer({ messages: run(1, 50), last_seq: 100 })
    expect(view.messages.value.find((each) => each.seq === 30)?.body).toBe('edited')
    expect(view.seqs()).toHaveLength(100)
  })

  it('tells of live messages once, and not of edits', async () => {
    const view = await open(chat(run(1, 3), 3))
    view.push(message(4), message(4), message(2, { version: 2 }))
    expect(heard).toEqual([4])
  })

  it('begins with the first message of an empty conversation', async () => {
    const view = await open(chat([], 0))
    expect(view.seqs()).toEqual([])
    view.push(message(1), message(2))
    expect(view.seqs()).toEqual([1, 2])
    expect(view.atStart.value && view.atEnd.value).toBe(true)
  })

  it('loads anew around the reader’s place when what was missed can’t be had', async () => {
    const view = await open(chat(run(1, 50), 50))
    place = 31
    vi.mocked(requests.open).mockResolvedValueOnce(chat(run(11, 60, { body: 'new' }), 900, 50))
    view.lose()
    await flush()
    expect(requests.open).toHaveBeenLastCalledWith(1, 31, expect.anything())
    expect(view.seqs()[0]).toBe(11)
    expect(view.messages.value.every((each) => each.body === 'new')).toBe(true)
    expect(view.lastSeq.value).toBe(900)
  })

  it('drops a page that was asked for before it was loaded anew', async () => {
    const view = await open(chat(run(51, 100), 100))
    const answer = pageLater()
    void view.more('older')
    vi.mocked(requests.open).mockResolvedValueOnce(chat(run(51, 100), 100))
    view.lose()
    await flush()
    await answer({ messages: run(1, 50), last_seq: 100 })
    expect(view.seqs()[0]).toBe(51)
    expect(view.paging.value).toEqual({ older: false, newer: false })
  })

  it('goes to a message that isn’t here', async () => {
    const view = await open(chat(run(951, 1000), 1000))
    vi.mocked(requests.page).mockResolvedValueOnce({ messages: run(476, 525), last_seq: 1000 })
    expect(await view.show(500)).toBe(true)
    expect([view.seqs()[0], view.seqs().at(-1)]).toEqual([476, 525])
    vi.mocked(requests.page).mockRejectedValueOnce(new ApiError(0, 'offline'))
    expect(await view.show(100)).toBe(false)
    expect(view.seqs()[0]).toBe(476)
    expect(view.pagingError.value).toBe('offline')
  })

  it.each([
    [404, 'gone'],
    [403, 'gone'],
    [500, 'failed'],
    [0, 'failed'],
  ])('says what a %i means', async (status, said) => {
    vi.mocked(requests.open).mockRejectedValueOnce(new ApiError(status, 'no'))
    const view = scope!.run(() =>
      useMessages(1, {
        at: null,
        place: () => null,
        onSignal: () => undefined,
        onLive: () => undefined,
        onMessage: () => undefined,
        onReader: () => undefined,
      }),
    )!
    await flush()
    expect(view.status.value).toBe(said)
  })

  it('is gone when one may not follow it any more', async () => {
    const view = await open(chat(run(1, 3), 3))
    view.forbid()
    expect(view.status.value).toBe('gone')
  })
})
