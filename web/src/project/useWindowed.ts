import { defaultRangeExtractor, useVirtualizer, type Range, type Virtualizer } from '@tanstack/vue-virtual'
import {
  computed,
  inject,
  nextTick,
  onBeforeUnmount,
  onMounted,
  ref,
  shallowRef,
  watch,
  type ComputedRef,
  type Directive,
  type Ref,
} from 'vue'

import type { Row } from './listing'
import { scrollerKey } from './scroller'
import type { Adding } from './useAdding'

interface Item {
  row: Row
  index: number
  start: number
}

const HEIGHTS: Readonly<Record<Row['kind'], number>> = { milestone: 48, task: 45, new: 40 }
/** How long rows slide after the list has changed, in ms. */
const SLIDE = 300

/** The part of the list that is in sight, and the task in it that keys are for. */
export function useWindowed(
  list: Readonly<Ref<HTMLElement | null>>,
  shown: ComputedRef<readonly Row[]>,
  adding: Adding,
): {
  items: ComputedRef<Item[]>
  height: ComputedRef<number>
  moving: Ref<boolean>
  active: Ref<number | null>
  /** Goes on each row. A reference would be called, and the row measured, each time the list is drawn. */
  vMeasure: Directive<HTMLElement>
  go: (to: 'next' | 'previous' | 'first' | 'last') => boolean
  focusOn: (id: number) => void
  reveal: (key: string) => void
} {
  const scroller = inject(scrollerKey, shallowRef(null))
  const active = ref<number | null>(null)
  const margin = ref(0)
  const moving = ref(false)

  const places = computed(() => new Map(shown.value.map(({ key }, index) => [key, index])))
  const indexOf = (key: string): number => places.value.get(key) ?? -1

  const virtualizer = useVirtualizer(
    computed(() => ({
      count: shown.value.length,
      getScrollElement: () => scroller.value,
      estimateSize: (index: number) => HEIGHTS[shown.value[index]?.kind ?? 'task'],
      getItemKey: (index: number) => shown.value[index]?.key ?? index,
      // What the observer says, and until then what is known: asking the element would lay out the page for each row that comes.
      measureElement: (
        element: Element,
        entry: ResizeObserverEntry | undefined,
        instance: Virtualizer<HTMLElement, Element>,
      ) => {
        const box = entry?.borderBoxSize[0]
        if (box) return Math.round(box.blockSize)
        const index = instance.indexFromElement(element)
        const row = shown.value[index]
        return instance.itemSizeCache.get(row?.key ?? index) ?? HEIGHTS[row?.kind ?? 'task']
      },
      overscan: 8,
      scrollMargin: margin.value,
      scrollPaddingStart: 72, // the toolbar sticks above
      scrollPaddingEnd: 24,
      // What has the focus is drawn wherever one scrolls to, or the focus would be lost.
      rangeExtractor: (range: Range) => {
        const keep = [active.value === null ? -1 : indexOf(`t${active.value}`)]
        if (adding.value !== undefined) keep.push(indexOf(`n${adding.value ?? 0}`))
        return [...new Set([...defaultRangeExtractor(range), ...keep.filter((index) => index >= 0)])].sort(
          (a, b) => a - b,
        )
      },
    })),
  )

  const items = computed<Item[]>(() =>
    virtualizer.value.getVirtualItems().flatMap(({ index, start }) => {
      const row = shown.value[index]
      return row ? [{ row, index, start: start - margin.value }] : []
    }),
  )

  const focusOn = (id: number): void => {
    active.value = id
    void nextTick(() => {
      const index = indexOf(`t${id}`)
      if (index < 0) return
      virtualizer.value.scrollToIndex(index, { align: 'auto' })
      // Where it had to scroll there, the row is drawn with the next frame.
      if (!focus(id)) requestAnimationFrame(() => void nextTick(() => focus(id)))
    })
  }
  const focus = (id: number): boolean => {
    const title = list.value?.querySelector<HTMLElement>(`[data-task="${id}"] [data-title]`)
    title?.focus({ preventScroll: true })
    return title != null
  }

  const go = (to: 'next' | 'previous' | 'first' | 'last'): boolean => {
    const tasks = shown.value.flatMap((row) => (row.kind === 'task' && row.task.id > 0 ? [row.task.id] : []))
    const at = active.value === null ? -1 : tasks.indexOf(active.value)
    const inside = document.activeElement?.closest('[data-task]') != null
    // Who comes back to the list comes back to the task they left.
    const next = {
      next: inside ? at + 1 : Math.max(at, 0),
      previous: inside ? at - 1 : Math.max(at, 0),
      first: 0,
      last: tasks.length - 1,
    }[to]
    const id = tasks[Math.min(Math.max(next, 0), tasks.length - 1)]
    if (id === undefined) return false
    focusOn(id)
    return true
  }

  const reveal = (key: string): void => {
    void nextTick(() => {
      const index = indexOf(key)
      if (index >= 0) virtualizer.value.scrollToIndex(index, { align: 'auto' })
    })
  }

  // A task that goes while it has the focus leaves it to its neighbour.
  watch(shown, (now, before) => {
    const id = active.value
    if (id === null || places.value.has(`t${id}`)) return
    const at = before.findIndex((row) => row.key === `t${id}`)
    const kept = new Set(now.map(({ key }) => key))
    const neighbour = [...before.slice(at + 1), ...before.slice(0, Math.max(at, 0)).reverse()].find(
      (row) => row.kind === 'task' && kept.has(row.key),
    )
    const focused = list.value?.querySelector(`[data-task="${id}"]`)?.contains(document.activeElement) === true
    active.value = neighbour?.kind === 'task' ? neighbour.task.id : null
    if (focused && active.value !== null) focusOn(active.value)
  })
  // There is always a task that Tab leads to.
  watch(
    shown,
    (now) => {
      if (active.value !== null) return
      const first = now.find((row) => row.kind === 'task')
      active.value = first?.kind === 'task' ? first.task.id : null
    },
    { immediate: true },
  )

  let slide: ReturnType<typeof setTimeout> | undefined
  watch(shown, (now, before) => {
    if (now.length === before.length && now.every((row, at) => row.key === before[at]?.key)) return
    moving.value = true
    clearTimeout(slide)
    slide = setTimeout(() => (moving.value = false), SLIDE)
  })

  // The head of the project stands above the list in what scrolls, and its height changes.
  let sizes: ResizeObserver | undefined
  onMounted(() => {
    const look = (): void => {
      const top = list.value?.getBoundingClientRect().top ?? 0
      const scrolled = scroller.value
      if (scrolled) margin.value = Math.round(top - scrolled.getBoundingClientRect().top + scrolled.scrollTop)
    }
    sizes = new ResizeObserver(look)
    for (const part of list.value?.parentElement?.parentElement?.children ?? []) sizes.observe(part)
    look()
  })
  onBeforeUnmount(() => {
    sizes?.disconnect()
    clearTimeout(slide)
  })

  return {
    items,
    height: computed(() => virtualizer.value.getTotalSize()),
    moving,
    active,
    vMeasure: {
      mounted: (element) => {
        virtualizer.value.measureElement(element)
      },
      unmounted: () => {
        virtualizer.value.measureElement(null)
      },
    },
    go,
    focusOn,
    reveal,
  }
}
