// Keys that go from message to message.

import { nextTick, ref, type Ref } from 'vue'

import type { Message } from '../api/types'

export interface MessageKeysOptions {
  scroller: Readonly<Ref<HTMLElement | null>>
  messages: Readonly<Ref<readonly Message[]>>
  /** Brings a message into the document. */
  reveal: (seq: number) => Promise<void>
}

export function useMessageKeys({ scroller, messages, reveal }: MessageKeysOptions) {
  /** The message that takes part in the order of Tab. */
  const active = ref<number | null>(null)

  async function go(seq: number): Promise<void> {
    const [first, last] = [messages.value[0]?.seq ?? 1, messages.value.at(-1)?.seq ?? 0]
    const goal = Math.min(Math.max(seq, first), last)
    if (goal < 1) return
    await reveal(goal)
    await nextTick()
    const element = scroller.value?.querySelector<HTMLElement>(`[data-seq="${goal}"]`)
    active.value = goal
    element?.focus({ preventScroll: true })
    element?.scrollIntoView({ block: 'nearest' })
  }

  function onKeydown(event: KeyboardEvent): void {
    const target = event.target as HTMLElement
    const onMessage = target.dataset.seq !== undefined
    // Within a message its own links and buttons have the keys.
    if ((!onMessage && target !== scroller.value) || event.ctrlKey || event.metaKey || event.altKey) return
    const last = messages.value.at(-1)?.seq ?? 0
    const here = onMessage ? Number(target.dataset.seq) : (active.value ?? last + 1)
    const goals: Record<string, number> = {
      ArrowUp: here - 1,
      ArrowDown: here + 1,
      Home: messages.value[0]?.seq ?? 1,
      End: last,
    }
    const goal = goals[event.key]
    if (goal === undefined) return
    event.preventDefault()
    void go(goal)
  }

  function onFocusin(event: FocusEvent): void {
    const message = (event.target as HTMLElement).closest<HTMLElement>('[data-seq]')
    if (message) active.value = Number(message.dataset.seq)
  }

  return { active, onKeydown, onFocusin }
}
