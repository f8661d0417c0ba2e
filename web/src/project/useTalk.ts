import { computed, toValue, type MaybeRefOrGetter } from 'vue'

import type { Conversation } from '@/api/types'

export interface Talk {
  messages: number
  unread: number
}

const SILENCE: Talk = { messages: 0, unread: 0 }

/** How much is said in the conversation of a task. */
export function useTalk(conversations: MaybeRefOrGetter<readonly Conversation[]>): (id: number | null) => Talk {
  const talks = computed(
    () =>
      new Map(
        toValue(conversations).map(({ id, last_seq, read_seq = 0 }): [number, Talk] => [
          id,
          { messages: last_seq, unread: Math.max(0, last_seq - read_seq) },
        ]),
      ),
  )
  return (id) => (id === null ? SILENCE : (talks.value.get(id) ?? SILENCE))
}
