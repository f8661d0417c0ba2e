import { onBeforeUnmount, onMounted, readonly, ref, type Ref, type ShallowRef } from 'vue'

const dwell = 200 // ms: rows that fly past while scrolling don't count
const linger = 3_000 // ms: nor do those that come back at once
const margin = '200px' // nearly there is there

let observer: IntersectionObserver | undefined
const told = new WeakMap<Element, (visible: boolean) => void>()

function observe(): IntersectionObserver {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) told.get(target)?.(isIntersecting)
    },
    { rootMargin: margin },
  )
  return observer
}

/** Whether an element is on the screen, or nearly, and stays there. */
export function useOnScreen(element: Readonly<ShallowRef<HTMLElement | null>>): Readonly<Ref<boolean>> {
  const visible = ref(false)
  let timer: ReturnType<typeof setTimeout> | undefined
  let watched: HTMLElement | null = null

  onMounted(() => {
    watched = element.value
    if (!watched) return
    told.set(watched, (now) => {
      clearTimeout(timer)
      if (now !== visible.value) timer = setTimeout(() => (visible.value = now), now ? dwell : linger)
    })
    observe().observe(watched)
  })
  onBeforeUnmount(() => {
    clearTimeout(timer)
    if (watched) observer?.unobserve(watched)
  })
  return readonly(visible)
}
