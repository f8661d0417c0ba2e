import { onScopeDispose, readonly, ref, type Ref } from 'vue'

/** Whether a media query holds. */
export function useMedia(query: string): Readonly<Ref<boolean>> {
  const list = window.matchMedia(query)
  const matches = ref(list.matches)
  const look = (): void => {
    matches.value = list.matches
  }
  list.addEventListener('change', look)
  onScopeDispose(() => {
    list.removeEventListener('change', look)
  })
  return readonly(matches)
}
