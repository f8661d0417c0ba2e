// The text that is being written, with who is meant in it; kept per person and conversation.

import { computed, onScopeDispose, ref, watch } from 'vue'

import { toBody, toText, type Mentioned } from './mentions'
import { draftStore } from './storage'

/** The most characters of a message. */
export const longest = 20_000

const keepAfter = 400 // ms of not writing

/** Counts as the server does: by code points. */
function characters(text: string): number {
  let count = 0
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) !== 0xdc00) count++
  return count
}

export function useDraft(person: number, conversation: number) {
  const store = draftStore(person, conversation)
  const kept = store.load()
  const text = ref(kept.text)
  let mentioned: Mentioned = new Map(kept.mentioned)
  /** What was being written when a message was taken to be edited. */
  let aside: { text: string; mentioned: Mentioned } | null = null
  let timer: ReturnType<typeof setTimeout> | undefined

  function keep(): void {
    clearTimeout(timer)
    const draft = aside ?? { text: text.value, mentioned }
    store.save({ text: draft.text, mentioned: [...draft.mentioned] })
  }
  watch(text, () => {
    clearTimeout(timer)
    timer = setTimeout(keep, keepAfter)
  })
  window.addEventListener('pagehide', keep)
  onScopeDispose(() => {
    window.removeEventListener('pagehide', keep)
    keep()
  })

  const converted = computed(() => toBody(text.value.trim(), mentioned))
  return {
    text,
    converted,
    left: computed(() => longest - characters(converted.value.body)),
    mention: (label: string, id: number): void => {
      mentioned.set(label, id)
    },
    clear: (): void => {
      text.value = ''
      mentioned = new Map()
      keep()
    },
    /** Puts what is being written aside and takes a message's text. */
    take: (body: string): void => {
      aside ??= { text: text.value, mentioned }
      const taken = toText(body)
      mentioned = taken.mentioned
      text.value = taken.text
    },
    /** Goes back to what was put aside. */
    giveBack: (): void => {
      if (!aside) return
      mentioned = aside.mentioned
      text.value = aside.text
      aside = null
    },
  }
}
