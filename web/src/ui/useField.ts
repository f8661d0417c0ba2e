import { computed, useAttrs, useId, type ComputedRef, type Ref } from 'vue'

interface FieldProps {
  id?: string | undefined
  hint?: string | undefined
}

/**
 * What is to be said of a text that is longer than it may be, undefined of others. Fields don't cut what somebody types or pastes: a
 * password or a title that has lost its end in silence is worse than one that is refused.
 */
export function useTooLong(text: Ref<string>, most: () => number | undefined): ComputedRef<string | undefined> {
  return computed(() => {
    const limit = most()
    if (limit === undefined || text.value.length <= limit) return undefined
    const over = Array.from(text.value).length - limit // characters, as the server counts them
    if (over <= 0) return undefined
    return `${over.toLocaleString('en')} ${over === 1 ? 'character' : 'characters'} too many: ${limit.toLocaleString('en')} at most.`
  })
}

/** The id of a field's control, and what ties its hint and error to it. */
export function useField(
  props: FieldProps,
  error: ComputedRef<string | undefined>,
): {
  id: ComputedRef<string>
  aria: ComputedRef<{ 'aria-invalid': true | undefined; 'aria-describedby': string | undefined }>
} {
  const made = useId()
  const id = computed(() => props.id ?? made)
  const aria = computed(() => {
    const described = [error.value ? `${id.value}-error` : '', props.hint ? `${id.value}-hint` : ''].filter(Boolean)
    return {
      'aria-invalid': error.value ? (true as const) : undefined,
      'aria-describedby': described.join(' ') || undefined,
    }
  })
  return { id, aria }
}

/** What a field's control takes of the attributes: all but the class, which is for the whole field. */
export function useControlAttrs(): ComputedRef<Record<string, unknown>> {
  const attrs = useAttrs()
  return computed(() => Object.fromEntries(Object.entries(attrs).filter(([name]) => name !== 'class')))
}
