// The messages of one conversation: a snapshot, what is pushed since, and pages in both directions.

import { computed, onScopeDispose, ref, shallowRef, triggerRef } from 'vue'

import { ApiError, errorText } from '../api/client'
import type { Chat, ChatDelta, ChatSignal, Conversation, Message, Position, Reader } from '../api/types'
import { useChannel } from '../live/useChannel'
import { batch } from './batch'
import { MessageLog, type Run } from './log'
import { requests, type PageQuery } from './requests'

export type Status = 'loading' | 'ready' | 'failed' | 'gone'

export interface MessagesOptions {
  /** Open here, and not at the first unread message. */
  at: number | null
  /** The message at the top of what the reader sees, to come back to when all is loaded anew. */
  place: () => number | null
  onSignal: (signal: ChatSignal) => void
  /** A message that wasn't here before, pushed live. */
  onLive: (message: Message) => void
  /** A message, however it came. */
  onMessage: (message: Message) => void
  onReader: (reader: Reader) => void
}

export function useMessages(conversation: number, options: MessagesOptions) {
  const status = ref<Status>('loading')
  const error = shallowRef<unknown>(null)
  const head = shallowRef<Conversation | null>(null)
  const position = shallowRef<Position | null | undefined>(null)
  const readers = shallowRef(new Map<number, Reader>())
  const readAtOpen = ref(0)
  /** Counts the snapshots: what belongs to an earlier one is dropped. */
  const generation = ref(0)
  const log = shallowRef(new MessageLog())
  const anchor = ref(0)
  const paging = ref({ older: false, newer: false })
  const pagingError = ref('')
  const abort = new AbortController()
  onScopeDispose(() => {
    abort.abort()
  })

  const run = computed<Run>(() => log.value.runAt(anchor.value) ?? { from: 1, to: 0 })
  const messages = computed(() => log.value.messages(run.value))
  const lastSeq = computed(() => log.value.lastSeq)
  const atStart = computed(() => run.value.from <= 1)
  const atEnd = computed(() => run.value.to >= log.value.lastSeq)

  // Pushes come in bursts: the list is laid out once for all that came since the last picture. What becomes of what is under way
  // is told with it, so that a message is never missing in between, nor there twice.
  let taken: Message[] = []
  const frame = batch(() => {
    triggerRef(log)
    const messages = taken
    taken = []
    messages.forEach(options.onMessage)
  })
  onScopeDispose(frame.cancel)

  function take(message: Message): boolean {
    const known = log.value.get(message.seq) !== undefined
    const appends = message.seq === run.value.to + 1 && run.value.to === log.value.lastSeq
    log.value.take(message)
    taken.push(message)
    frame.request()
    if (anchor.value === 0 && appends) anchor.value = message.seq
    return !known
  }

  function takeReader(reader: Reader): void {
    const former = readers.value.get(reader.person_id)
    if (former && former.read_seq >= reader.read_seq) return
    readers.value = new Map(readers.value).set(reader.person_id, reader)
    options.onReader(reader)
  }

  function begin(chat: Chat, at: number | null): void {
    const fresh = new MessageLog(chat.conversation.last_seq)
    fresh.takeAll(chat.messages)
    const first = chat.messages[0]?.seq ?? 0
    const last = chat.messages.at(-1)?.seq ?? 0
    const read = chat.conversation.read_seq ?? 0
    anchor.value = Math.min(Math.max(at ?? read + 1, first), last)
    if (generation.value === 0) readAtOpen.value = read
    generation.value++
    log.value = fresh
    head.value = chat.conversation
    readers.value = new Map()
    chat.readers.forEach(takeReader)
    chat.messages.forEach(options.onMessage)
    paging.value = { older: false, newer: false }
    position.value = chat.positions[`chat:${conversation}`]
    status.value = 'ready'
  }

  /** Loads the snapshot; `at` null: around the first unread message. */
  async function load(at: number | null): Promise<void> {
    error.value = null
    try {
      begin(await requests.open(conversation, at, abort.signal), at)
    } catch (reason) {
      if (abort.signal.aborted) return
      if (reason instanceof ApiError && (reason.status === 404 || reason.status === 403)) status.value = 'gone'
      else if (status.value === 'ready') setTimeout(() => void reload(), 2000)
      else status.value = 'failed'
      error.value = reason
    }
  }

  const reload = (): Promise<void> | undefined => (abort.signal.aborted ? undefined : load(options.place()))

  useChannel<ChatDelta, ChatSignal>(`chat:${conversation}`, {
    position,
    onDelta: (delta) => {
      if (delta.type === 'read') takeReader(delta.reader)
      else if (take(delta.message)) options.onLive(delta.message)
    },
    onSignal: options.onSignal,
    onReload: () => void reload(),
    onGone: () => (status.value = 'gone'),
  })

  async function page(query: PageQuery): Promise<boolean> {
    const asked = generation.value
    pagingError.value = ''
    try {
      const answer = await requests.page(conversation, query, abort.signal)
      if (asked !== generation.value) return false
      log.value.reaches(answer.last_seq)
      answer.messages.forEach(take)
      frame.flush()
      return answer.messages.length > 0
    } catch (reason) {
      if (!abort.signal.aborted && asked === generation.value) pagingError.value = errorText(reason)
      return false
    }
  }

  async function more(direction: 'older' | 'newer'): Promise<void> {
    const done = direction === 'older' ? atStart.value : atEnd.value
    if (status.value !== 'ready' || done || paging.value[direction]) return
    paging.value = { ...paging.value, [direction]: true }
    const asked = generation.value
    await page(direction === 'older' ? { from: 'before', seq: run.value.from } : { from: 'after', seq: run.value.to })
    if (asked === generation.value) paging.value = { ...paging.value, [direction]: false }
  }

  /** Makes the run that holds seq the one that is shown, loading it if it isn't here. */
  async function show(seq: number): Promise<boolean> {
    const near = log.value.runAt(seq)
    const lonely = near && near.to - near.from < 20 && (near.from > 1 || near.to < lastSeq.value)
    if (!near || lonely) {
      if (!(await page({ from: 'around', seq })) && !near) return false
    }
    if (!log.value.runAt(seq)) return false
    anchor.value = seq
    return true
  }

  void load(options.at)

  return {
    status,
    error,
    head,
    readers,
    readAtOpen,
    generation,
    messages,
    lastSeq,
    atStart,
    atEnd,
    paging,
    pagingError,
    take,
    /** Shows at once what was taken. */
    flush: frame.flush,
    more,
    show,
    retry: () => {
      status.value = 'loading'
      return load(options.at)
    },
  }
}
