// An open conversation: its messages, what one has under way, who writes, and how far one has read.

import { computed, onScopeDispose, ref, shallowRef, watch } from 'vue'

import { newKey } from '../api/key'
import type { Attachment, Me, Message } from '../api/types'
import { useConnection } from '../live/connection'
import { judge } from './judge'
import { Outbox, type Pending } from './outbox'
import { Receipts } from './receipts'
import { requests } from './requests'
import { outboxStore } from './storage'
import { Typing } from './typing'
import { useAttention } from './useAttention'
import { useMessages } from './useMessages'

export interface ConversationOptions {
  id: number
  me: Me
  at: number | null
  place: () => number | null
  onLive: (message: Message) => void
  /** One has read up to seq, here or in another window. */
  onRead: (seq: number) => void
}

const later = (call: () => void, ms: number): (() => void) => {
  const timer = setTimeout(call, ms)
  return () => {
    clearTimeout(timer)
  }
}

export function useConversation(options: ConversationOptions) {
  const { id, me } = options
  const typing = ref<number[]>([])
  const pending = shallowRef<readonly Pending[]>([])
  const { state: connection } = useConnection()

  const typist = new Typing({
    me: me.id,
    now: () => Date.now(),
    later,
    send: () => requests.typing(id),
    changed: (people) => (typing.value = people),
  })
  const receipts = new Receipts({
    later,
    send: (seq) =>
      requests.read(id, seq).then(() => {
        read(seq)
      }),
  })
  const outbox = new Outbox({
    send: (item) =>
      requests.send(id, {
        key: item.key,
        body: item.body,
        mentions: item.mentions,
        attachments: item.attachments.map((file) => file.id),
      }),
    judge,
    store: outboxStore(me.id, id),
    now: () => Date.now(),
    later,
    changed: (list) => (pending.value = list),
    stored: (message) => {
      messages.take(message)
      messages.flush()
      read(message.seq)
    },
  })

  const messages = useMessages(id, {
    at: options.at,
    place: options.place,
    onSignal: (signal) => {
      typist.heard(signal.person_id)
    },
    onLive: (message) => {
      if (message.author_id !== null) typist.ended(message.author_id)
      options.onLive(message)
    },
    onMessage: (message) => {
      if (message.author_id === me.id) outbox.settle(message.key)
    },
    onReader: (reader) => {
      if (reader.person_id === me.id) read(reader.read_seq)
    },
  })

  /** Where the "New" divider stands; null: nowhere. */
  const newAfter = ref<number | null>(null)
  const readSeq = ref(0)

  function read(seq: number): void {
    receipts.known(seq)
    if (seq <= readSeq.value) return
    readSeq.value = seq
    options.onRead(seq)
  }

  const ready = computed(() => messages.status.value === 'ready')
  const { attentive } = useAttention()
  watch(attentive, (here) => {
    receipts.setActive(here)
    // Whoever looks away having read all finds marked what comes meanwhile.
    if (!here && ready.value && readSeq.value >= messages.lastSeq.value) newAfter.value = messages.lastSeq.value
  })

  const stopWaiting = watch(
    ready,
    (is) => {
      if (!is) return
      queueMicrotask(() => {
        stopWaiting()
      })
      const at = messages.readAtOpen.value
      readSeq.value = Math.max(readSeq.value, at)
      receipts.begin(at)
      newAfter.value = at < messages.lastSeq.value ? at : null
    },
    { flush: 'sync' },
  )

  pending.value = outbox.pending
  const wake = (): void => {
    outbox.wake()
  }
  watch(connection, (now) => {
    if (now === 'connected') wake()
  })
  window.addEventListener('online', wake)

  onScopeDispose(() => {
    typist.stop()
    receipts.stop()
    outbox.stop()
    window.removeEventListener('online', wake)
  })

  return {
    ...messages,
    newAfter,
    readSeq,
    unread: computed(() => Math.max(0, messages.lastSeq.value - readSeq.value)),
    typing,
    pending,
    connection,
    wrote: () => {
      typist.wrote()
    },
    send: (content: { body: string; mentions: number[]; attachments: Attachment[] }) => {
      typist.sent()
      newAfter.value = null
      outbox.add(newKey(), content)
    },
    resend: (key: string) => {
      outbox.retry(key)
    },
    discard: (key: string) => {
      outbox.discard(key)
    },
    edit: async (message: Message, body: string) => {
      messages.take(await requests.edit(message.id, body, message.version))
    },
    remove: async (message: Message) => {
      messages.take(await requests.remove(message.id))
    },
    /** What the list really shows, told by it. */
    displayed: (seq: number, visible: boolean) => {
      receipts.shown(seq, visible)
    },
    /** The list has found its place: what it shows counts from now on. */
    settled: () => {
      receipts.setActive(attentive.value)
    },
  }
}

export type Open = ReturnType<typeof useConversation>
