// Whether an element has a place on the page: not within a tab that isn't shown.

import { onScopeDispose, readonly, ref, watch, type Ref } from 'vue'

export function useDisplayed(element: Readonly<Ref<HTMLElement | null>>): Readonly<Ref<boolean>> {
  const displayed = ref(false)
  const observer = new ResizeObserver(([entry]) => {
    if (entry) displayed.value = entry.contentRect.height > 0
  })
  watch(
    element,
    (now, former) => {
      if (former) observer.unobserve(former)
      if (now) observer.observe(now)
    },
    { immediate: true, flush: 'post' },
  )
  onScopeDispose(() => {
    observer.disconnect()
  })
  return readonly(displayed)
}
