// One list of the inbox as a page shows it: read when it is first looked at and whenever it has to be read anew.

import { computed, ref, shallowRef, toValue, watch, type ComputedRef, type MaybeRefOrGetter, type Ref } from 'vue'

import type { Item, ListKey } from './types'
import { useInbox } from './useInbox'

export interface InboxList {
  items: ComputedRef<Item[]>
  /** Nothing is known yet, and nothing has failed. */
  loading: ComputedRef<boolean>
  busy: Ref<boolean>
  error: Ref<unknown>
  hasMore: ComputedRef<boolean>
  /** Reads what couldn't be read, or what follows. */
  retry: () => void
  more: () => void
}

/** How often a list is read in a row that changes while it is. */
const mostReads = 3

/** `active`: whether it is looked at; lists that aren't don't ask for anything. */
export function useInboxList(key: MaybeRefOrGetter<ListKey>, active: MaybeRefOrGetter<boolean> = true): InboxList {
  const inbox = useInbox()
  const error = shallowRef<unknown>()
  const busy = ref(false)
  const needed = computed(() => toValue(active) && inbox.needs(toValue(key)))

  async function run(read: (key: ListKey) => Promise<void>): Promise<void> {
    if (busy.value) return
    busy.value = true
    try {
      await read(toValue(key))
      error.value = undefined
    } catch (caught) {
      error.value = caught
    } finally {
      busy.value = false
    }
  }
  const load = (left = mostReads): void => {
    void run(inbox.load).then(() => {
      // Another list was chosen, or this one changed, while it was read.
      if (needed.value && error.value === undefined && left > 1) load(left - 1)
    })
  }
  const more = (): void => {
    void run(inbox.loadMore)
  }
  watch(
    [needed, () => toValue(key).state, () => toValue(key).group],
    ([isNeeded]) => {
      error.value = undefined
      if (isNeeded) load()
    },
    { immediate: true },
  )

  return {
    items: computed(() => inbox.list(toValue(key))),
    loading: computed(() => !inbox.isKnown(toValue(key)) && error.value === undefined),
    busy,
    error,
    hasMore: computed(() => inbox.hasMore(toValue(key))),
    retry: () => {
      if (needed.value) load()
      else more()
    },
    more,
  }
}
