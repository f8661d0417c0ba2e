// What all forms of settings have in common: one thing sent at a time, what is wrong at its field, and that it was saved.

import { reactive } from 'vue'

import { ApiError, errorText } from '../api/client'
import { announce } from '../ui/announce'

export interface Form {
  busy: boolean
  /** Whether what was sent last was taken, until something is changed. */
  saved: boolean
  /** What is wrong as a whole. */
  error: string | undefined
  /** What is wrong with single fields. */
  fields: Readonly<Record<string, string>>
}

/** `place` names where the error of a field is shown, for those whose names differ from the page's. */
export function useForm(
  place: (fields: Readonly<Record<string, string>>) => Record<string, string> = (fields) => ({ ...fields }),
): {
  form: Form
  /** Runs a request. True if it was taken. */
  submit: (send: () => Promise<unknown>) => Promise<boolean>
  changed: () => void
} {
  const form = reactive<Form>({ busy: false, saved: false, error: undefined, fields: {} })

  async function submit(send: () => Promise<unknown>): Promise<boolean> {
    if (form.busy) return false
    form.busy = true
    form.error = undefined
    form.fields = {}
    form.saved = false
    try {
      await send()
      form.saved = true
      announce('Saved')
      return true
    } catch (error) {
      form.fields = error instanceof ApiError ? place(error.fields) : {}
      if (Object.keys(form.fields).length === 0) form.error = errorText(error)
      return false
    } finally {
      form.busy = false
    }
  }
  return {
    form,
    submit,
    changed: () => (form.saved = false),
  }
}
