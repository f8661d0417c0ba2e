import { computed, ref, watch, type ComputedRef, type Ref } from 'vue'

export interface Draft {
  text: Ref<string>
  /** Whether it says something else than what it began with. */
  dirty: ComputedRef<boolean>
  /** What somebody else has made of it since this draft began, undefined where nobody did. */
  theirs: Readonly<Ref<string | undefined>>
  /** Begins again with what is there. */
  reset: () => void
  /** Goes on with one's own text, over theirs. */
  keep: () => void
}

/** Text that is being edited, while others may change it: theirs is taken over until one writes, then it is a conflict to be seen. */
export function useDraft(current: () => string): Draft {
  const base = ref(current())
  const text = ref(base.value)
  const theirs = ref<string>()
  const dirty = computed(() => text.value !== base.value)

  const reset = (): void => {
    base.value = current()
    text.value = base.value
    theirs.value = undefined
  }
  watch(current, (now) => {
    if (!dirty.value || now === text.value) reset()
    else theirs.value = now === base.value ? undefined : now
  })
  return {
    text,
    dirty,
    theirs,
    reset,
    keep: () => {
      base.value = current()
      theirs.value = undefined
    },
  }
}
