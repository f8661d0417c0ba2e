// What is really displayed: the end of a message is within the list's view.

import { onScopeDispose, watch, type ObjectDirective, type Ref } from 'vue'

export function useSeen(scroller: Readonly<Ref<HTMLElement | null>>, seen: (seq: number, visible: boolean) => void) {
  let observer: IntersectionObserver | null = null
  const elements = new Map<Element, number>()

  watch(
    scroller,
    (root) => {
      observer?.disconnect()
      observer = null
      if (!root) return
      observer = new IntersectionObserver(
        (entries) => {
          for (const { target, isIntersecting } of entries) {
            const seq = elements.get(target)
            if (seq !== undefined) seen(seq, isIntersecting)
          }
        },
        { root },
      )
      for (const element of elements.keys()) observer.observe(element)
    },
    { immediate: true, flush: 'post' },
  )
  onScopeDispose(() => observer?.disconnect())

  /** Goes on a mark at the end of each message: `v-seen="message.seq"`. */
  const vSeen: ObjectDirective<Element, number> = {
    mounted(element, { value }) {
      elements.set(element, value)
      observer?.observe(element)
    },
    beforeUnmount(element) {
      const seq = elements.get(element)
      elements.delete(element)
      observer?.unobserve(element)
      if (seq !== undefined) seen(seq, false)
    },
  }
  return { vSeen }
}
