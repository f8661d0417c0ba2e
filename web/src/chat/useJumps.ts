// Where the list of a conversation is opened, and the ways to get elsewhere in it.

import { computed, nextTick, onScopeDispose, ref, watch, type Ref } from 'vue'

import { rowKey, type ChatRow } from './rows'
import type { Open } from './useConversation'
import type { useWindow } from './useWindow'

export interface JumpsOptions {
  open: Open
  rows: Readonly<Ref<readonly ChatRow[]>>
  list: ReturnType<typeof useWindow<ChatRow>>
  scroller: Readonly<Ref<HTMLElement | null>>
  me: number
  /** The message to open at. */
  target: number | null
}

const pointedOutFor = 3000 // ms

export function useJumps({ open, rows, list, scroller, me, target }: JumpsOptions) {
  const { messages, newAfter, lastSeq, atEnd: atNewest, show } = open
  const highlighted = ref<number | null>(null)
  /** The list has found the place that it opens at. */
  const placed = ref(false)
  let fading: ReturnType<typeof setTimeout> | undefined
  onScopeDispose(() => {
    clearTimeout(fading)
  })

  function keyOf(seq: number): string | null {
    const message = messages.value[seq - (messages.value[0]?.seq ?? 0)]
    return message?.seq === seq ? rowKey(message, me) : null
  }

  async function jump(seq: number, pointOut: boolean): Promise<void> {
    if (!(await show(seq))) return
    await nextTick()
    const key = keyOf(seq)
    if (key === null) return
    await list.scrollTo(key, pointOut ? 'center' : 'start', 64)
    if (!pointOut) return
    clearTimeout(fading)
    highlighted.value = seq
    fading = setTimeout(() => (highlighted.value = null), pointedOutFor)
  }

  async function toNewest(): Promise<void> {
    if (!atNewest.value) await show(lastSeq.value)
    await nextTick()
    list.scrollToEnd()
  }

  /** At the message the address points at, at the first unread one, or at the end. */
  async function begin(): Promise<void> {
    await nextTick()
    if (target !== null && keyOf(target) !== null) await jump(target, true)
    else if (rows.value.some((row) => row.key === 'new')) await list.scrollTo('new', 'start', 24)
    else {
      const first = newAfter.value === null ? null : keyOf(newAfter.value + 1)
      if (first !== null) await list.scrollTo(first, 'start', 24)
      else list.scrollToEnd()
    }
    placed.value = true
    open.settled()
  }
  watch(
    scroller,
    (element) => {
      if (element && !placed.value) void begin()
    },
    { immediate: true, flush: 'post' },
  )

  /** The first unread message is further up than what one sees. */
  const unreadAbove = computed(() => {
    if (newAfter.value === null || !placed.value) return false
    const key = keyOf(newAfter.value + 1)
    return key === null ? (messages.value[0]?.seq ?? 0) > newAfter.value + 1 : list.where(key) === 'above'
  })

  return {
    jump,
    toNewest,
    highlighted,
    placed,
    unreadAbove,
    /** Brings a message into view that isn't. */
    reveal: async (seq: number): Promise<void> => {
      const key = keyOf(seq)
      if (key !== null && list.where(key) !== 'in') await list.scrollTo(key, 'center')
    },
  }
}
