import { computed, useAttrs, useId, type ComputedRef } from 'vue'

interface FieldProps {
  id?: string | undefined
  hint?: string | undefined
  error?: string | undefined
}

/** The id of a field's control, and what ties its hint and error to it. */
export function useField(props: FieldProps): {
  id: ComputedRef<string>
  aria: ComputedRef<{ 'aria-invalid': true | undefined; 'aria-describedby': string | undefined }>
} {
  const made = useId()
  const id = computed(() => props.id ?? made)
  const aria = computed(() => {
    const described = [props.error ? `${id.value}-error` : '', props.hint ? `${id.value}-hint` : ''].filter(Boolean)
    return {
      'aria-invalid': props.error ? (true as const) : undefined,
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
