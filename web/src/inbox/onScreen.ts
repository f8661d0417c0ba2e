// What is on the screen now, by group: a toast about it would tell somebody what they see.

import {
  getCurrentInstance,
  onActivated,
  onDeactivated,
  onScopeDispose,
  shallowReactive,
  toValue,
  watch,
  type MaybeRefOrGetter,
} from 'vue'

/** As what the notifications themselves are shown. */
export const inboxGroup = 'inbox'

/** How many components show a group. */
const shown = shallowReactive(new Map<string, number>())

function add(group: string, by: 1 | -1): void {
  const count = (shown.get(group) ?? 0) + by
  if (count > 0) shown.set(group, count)
  else shown.delete(group)
}

/** Says that a component shows a group, such as project:7 or chat:12, for as long as it lives and the group isn't null. */
export function useOnScreen(group: MaybeRefOrGetter<string | null>): void {
  let active = true
  let now: string | null = null
  const set = (next: string | null): void => {
    if (next === now) return
    if (now !== null) add(now, -1)
    if (next !== null) add(next, 1)
    now = next
  }
  const update = (): void => {
    set(active ? toValue(group) : null)
  }
  watch(() => toValue(group), update, { immediate: true, flush: 'sync' })
  if (getCurrentInstance()) {
    onActivated(() => {
      active = true
      update()
    })
    onDeactivated(() => {
      active = false
      update()
    })
  }
  onScopeDispose(() => {
    active = false
    set(null)
  })
}

export function isOnScreen(group: string | null): boolean {
  return group !== null && shown.has(group)
}
