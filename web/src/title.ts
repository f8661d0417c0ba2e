import { computed, onScopeDispose, ref, toValue, watchEffect, type MaybeRefOrGetter } from 'vue'

const page = ref('')
const unread = ref(0)

export const windowTitle = computed(() => {
  const count = unread.value > 0 ? `(${unread.value > 99 ? '99+' : unread.value}) ` : ''
  return count + (page.value ? `${page.value} · Projects` : 'Projects')
})

/** Names the window after what the page shows, while the component lives. */
export function usePageTitle(title: MaybeRefOrGetter<string | undefined>): void {
  const stop = watchEffect(() => {
    const text = toValue(title)
    if (text) page.value = text
  })
  onScopeDispose(stop)
}

/** Names the window by its route, until its page says more. */
export function setPageTitle(title: string): void {
  page.value = title
}

/** The number before the window's title: what waits in the inbox. */
export function setUnreadInTitle(count: number): void {
  unread.value = count
}
