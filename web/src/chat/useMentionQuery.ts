// Picking whom to mention, while one writes.

import { computed, nextTick, ref, shallowRef, useId, type Ref } from 'vue'

import type { Person } from '../api/types'
import { useChat } from './context'
import { matching, queryAt } from './mentions'

interface Field {
  text: Ref<string>
  mention: (label: string, id: number) => void
}

export function useMentionQuery(field: Readonly<Ref<HTMLTextAreaElement | null>>, { text, mention }: Field) {
  const { members, labels } = useChat()
  const id = useId()
  const from = ref<number | null>(null)
  const found = shallowRef<Person[]>([])
  const selected = ref(0)
  const open = computed(() => from.value !== null && found.value.length > 0)

  function close(): void {
    from.value = null
  }

  /** Looks whether an @ is being written where the caret is. */
  function look(): void {
    const element = field.value
    const query = element ? queryAt(element.value, element.selectionStart) : null
    // A name that was picked and is written on behind isn't a query any more.
    if (!query || [...labels.value.values()].some((label) => query.query.startsWith(`${label} `))) {
      close()
      return
    }
    found.value = matching(members.value, query.query)
    selected.value = 0
    from.value = query.at
  }

  function pick(person: Person): void {
    const element = field.value
    const at = from.value
    const label = labels.value.get(person.id)
    if (!element || at === null || label === undefined) return
    const before = `${text.value.slice(0, at)}@${label} `
    const behind = text.value.slice(element.selectionStart).replace(/^ /, '')
    mention(label, person.id)
    text.value = before + behind
    close()
    void nextTick(() => {
      element.focus()
      element.setSelectionRange(before.length, before.length)
    })
  }

  /** Whether the key was for the list. */
  function onKeydown(event: KeyboardEvent): boolean {
    if (!open.value) return false
    const count = found.value.length
    const chosen = found.value[selected.value]
    if (event.key === 'ArrowDown') selected.value = (selected.value + 1) % count
    else if (event.key === 'ArrowUp') selected.value = (selected.value + count - 1) % count
    else if ((event.key === 'Enter' || event.key === 'Tab') && chosen) pick(chosen)
    else if (event.key === 'Escape') close()
    else return false
    event.preventDefault()
    event.stopPropagation()
    return true
  }

  return {
    id,
    open,
    found,
    selected,
    labels,
    look,
    close,
    select: (i: number): void => {
      selected.value = i
    },
    pick,
    onKeydown,
    aria: computed(() => ({
      'aria-autocomplete': 'list' as const,
      'aria-controls': open.value ? id : undefined,
      'aria-activedescendant': open.value ? `${id}-${selected.value}` : undefined,
    })),
  }
}

export type Picker = ReturnType<typeof useMentionQuery>
