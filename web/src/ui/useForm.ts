import { nextTick, ref, shallowRef, type Ref, type ShallowRef } from 'vue'

import { ApiError, errorText } from '../api/client'

export interface Form<Arguments extends unknown[]> {
  busy: Readonly<Ref<boolean>>
  /** What is wrong with the whole of it. */
  error: Readonly<Ref<string>>
  /** What is wrong with its fields. */
  fields: Readonly<ShallowRef<Readonly<Record<string, string>>>>
  /** Answers whether it went well. A second one while the first runs does nothing. */
  submit: (...args: Arguments) => Promise<boolean>
  /** Forgets what was wrong. */
  clear: () => void
}

/**
 * A form that is sent. `check` answers what is wrong before anything is sent. What the server says about fields goes to those that
 * `names` lists, anything else to the form. Focus goes to the first field that is wrong.
 */
export function useForm<Arguments extends unknown[]>(options: {
  send: (...args: Arguments) => Promise<unknown>
  names: readonly string[]
  check?: () => Record<string, string | false | undefined>
  root?: () => HTMLElement | null | undefined
}): Form<Arguments> {
  const busy = ref(false)
  const error = ref('')
  const fields = shallowRef<Readonly<Record<string, string>>>({})

  function clear(): void {
    error.value = ''
    fields.value = {}
  }

  async function submit(...args: Arguments): Promise<boolean> {
    if (busy.value) return false
    clear()
    const wrong = Object.entries(options.check?.() ?? {}).filter((entry): entry is [string, string] => !!entry[1])
    if (wrong.length > 0) {
      fields.value = Object.fromEntries(wrong)
      await focusWrong()
      return false
    }
    busy.value = true
    try {
      await options.send(...args)
      return true
    } catch (caught) {
      const said = caught instanceof ApiError ? Object.entries(caught.fields) : []
      fields.value = Object.fromEntries(said.filter(([name]) => options.names.includes(name)))
      if (Object.keys(fields.value).length === 0) error.value = errorText(caught)
      void focusWrong()
      return false
    } finally {
      busy.value = false
    }
  }

  async function focusWrong(): Promise<void> {
    await nextTick()
    options.root?.()?.querySelector<HTMLElement>('[aria-invalid=true]')?.focus()
  }

  return { busy, error, fields, submit, clear }
}
