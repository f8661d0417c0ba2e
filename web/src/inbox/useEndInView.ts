// Calls when the end of a list comes into view, and again as long as it stays there after the list has grown.

import { onScopeDispose, watch, type Ref } from 'vue'

export function useEndInView(
  end: Readonly<Ref<HTMLElement | null>>,
  reached: () => void,
  grows: Readonly<Ref<unknown>>,
): void {
  if (typeof IntersectionObserver === 'undefined') return
  let visible = false
  const observer = new IntersectionObserver(
    (entries) => {
      visible = entries.at(-1)?.isIntersecting ?? false
      if (visible) reached()
    },
    { rootMargin: '400px' },
  )
  watch(
    end,
    (element) => {
      observer.disconnect()
      visible = false
      if (element) observer.observe(element)
    },
    { immediate: true, flush: 'post' },
  )
  watch(
    grows,
    () => {
      if (visible) reached()
    },
    { flush: 'post' },
  )
  onScopeDispose(() => {
    observer.disconnect()
  })
}
