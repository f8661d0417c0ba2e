import { reactive, ref, type Ref } from 'vue'

import { ApiError, errorText } from '@/api/client'

export interface Form {
  busy: Readonly<Ref<boolean>>
  /** What is wrong with the whole. */
  error: Readonly<Ref<string>>
  /** What is wrong with fields, by name. */
  fields: Readonly<Record<string, string>>
  clear: () => void
  /** Sends, once at a time; answers whether it was taken. */
  submit: (send: () => Promise<unknown>) => Promise<boolean>
}

/** The sending of a form: errors at their fields, and the rest above it. */
export function useForm(names: readonly string[]): Form {
  const busy = ref(false)
  const error = ref('')
  const fields = reactive<Record<string, string>>({})
  const clear = (): void => {
    error.value = ''
    for (const name of names) fields[name] = ''
  }
  const submit = async (send: () => Promise<unknown>): Promise<boolean> => {
    if (busy.value) return false
    busy.value = true
    clear()
    try {
      await send()
      return true
    } catch (caught) {
      const told = caught instanceof ApiError ? caught.fields : {}
      let placed = false
      for (const name of names) {
        const sentence = told[name]
        if (!sentence) continue
        fields[name] = sentence
        placed = true
      }
      if (!placed) error.value = errorText(caught)
      return false
    } finally {
      busy.value = false
    }
  }
  clear()
  return { busy, error, fields, clear, submit }
}
