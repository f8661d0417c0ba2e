// A windowed list whose rows have any height: only what is near the view is in the document.

import {
  computed,
  nextTick,
  onMounted,
  onScopeDispose,
  onUpdated,
  ref,
  shallowRef,
  triggerRef,
  watch,
  type ObjectDirective,
  type Ref,
} from 'vue'

import { Heights, type Row } from './heights'

/** Where a row comes to stand in the view. */
export type Align = 'start' | 'center' | 'end'

export interface WindowOptions<R extends Row> {
  rows: Readonly<Ref<readonly R[]>>
  scroller: Readonly<Ref<HTMLElement | null>>
  /** Whether the view may hold on to a row: not to one that stays at the top, or changes, when others are put before it. */
  holds: (row: R) => boolean
  /** Whether the end of the rows is the end of all there is: only there the view holds on to it. */
  complete: () => boolean
}

/** How far beyond the view rows are kept, in px. */
const overscan = 900
/** So near the end counts as being there, in px. */
const nearEnd = 24
/** So long after the last movement somebody has stopped scrolling, in ms. */
const stopped = 150

/**
 * The view holds on to a row, not to a distance from the top: whatever is added or turns out higher above it, what one reads stays
 * where it is. At the end it holds on to the end.
 *
 * While somebody scrolls, browsers move the view by themselves to where they have set out for, and undo or double what is set
 * meanwhile. Then the rows are moved instead: what stands before them in the document is as much shorter than what they are
 * (`drift`), until the view stands still. The scroller needs `overflow-anchor: none` and no padding above or below.
 */
export function useWindow<R extends Row>({ rows, scroller, holds, complete }: WindowOptions<R>) {
  const heights = new Heights<R>()
  /** The same, told to what depends on it when it has changed. */
  const layout = shallowRef(heights)
  const top = ref(0)
  const size = ref(0)
  const atEnd = ref(true)
  const drift = ref(0)
  let moving: ReturnType<typeof setTimeout> | undefined
  /** What the view holds on to: a row, and how far its top is above the view's. */
  let anchor: { key: string; above: number } | null = null
  /** Where the list was put last: a scroll event that says the same isn't a person's. */
  let put = -1
  const elements = new Map<Element, string>()
  /** Without a size, as in a tab that isn't shown: nothing is where it was, and nothing may be learnt from it. */
  let hidden = true
  /** The observer tells of it only later. */
  const isHidden = (): boolean => hidden || scroller.value?.clientHeight === 0

  const first = computed(() => layout.value.at(Math.max(0, top.value - overscan)))
  const last = computed(() => layout.value.at(top.value + size.value + overscan))
  const visible = computed(() => rows.value.slice(first.value, last.value + 1))
  const before = computed(() => Math.max(0, layout.value.offset(first.value) - drift.value))
  const after = computed(() => layout.value.total - layout.value.offset(last.value + 1))

  function hold(): void {
    anchor = null
    // Of the rows that were laid out: those to come may be others already.
    for (let i = heights.at(top.value); i < heights.count; i++) {
      const row = heights.row(i)
      if (!row || !holds(row)) continue
      anchor = { key: row.key, above: top.value - heights.offset(i) }
      return
    }
  }

  /** Where the view belongs, by what it holds on to. */
  function goal(): number {
    if (atEnd.value) return heights.total
    const i = anchor ? heights.indexOf(anchor.key) : undefined
    return anchor && i !== undefined ? heights.offset(i) + anchor.above : top.value
  }

  function place(y: number): void {
    const view = scroller.value
    if (!view || isHidden() || heights.count === 0) return
    const wanted = Math.max(0, Math.min(Math.round(y), Math.ceil(heights.total) - view.clientHeight))
    top.value = wanted
    const away = wanted - view.scrollTop
    if (moving !== undefined && !atEnd.value && away <= heights.offset(first.value) && (away > 0 || first.value > 0)) {
      drift.value = away
      return
    }
    drift.value = 0
    if (Math.abs(away) >= 1) view.scrollTop = wanted
    put = view.scrollTop
    // It couldn't be put where it belonged: what is held on to is elsewhere now.
    if (!atEnd.value && Math.abs(wanted - y) > 1) hold()
  }

  function rest(): void {
    clearTimeout(moving)
    moving = undefined
  }

  /** Takes in where a person has scrolled to. */
  function follow(): void {
    const view = scroller.value
    if (!view || isHidden() || Math.abs(view.scrollTop - put) < 1) return
    put = view.scrollTop
    top.value = Math.max(0, view.scrollTop + drift.value)
    rest()
    // At the very top there is no way left to go.
    if (view.scrollTop > 0 || drift.value === 0) {
      moving = setTimeout(() => {
        rest()
        follow()
        if (moving === undefined && drift.value !== 0) place(goal())
      }, stopped)
    }
    atEnd.value = complete() && view.scrollHeight - view.scrollTop - view.clientHeight <= nearEnd
    hold()
    if (moving === undefined) place(goal())
  }

  function measure(targets: Iterable<Element>): boolean {
    if (isHidden()) return false
    const found: [string, number][] = []
    for (const element of targets) {
      const key = elements.get(element)
      if (key !== undefined && element.isConnected) found.push([key, element.getBoundingClientRect().height])
    }
    if (!heights.measure(found)) return false
    triggerRef(layout)
    return true
  }

  function settle(): void {
    measure(elements.keys())
    place(goal())
  }

  const resized = new ResizeObserver((entries) => {
    follow()
    if (measure(entries.map((entry) => entry.target))) place(goal())
  })

  let width = 0
  const viewResized = new ResizeObserver(() => {
    const view = scroller.value
    if (!view) return
    hidden = view.clientHeight === 0
    if (hidden) return
    if (width !== 0 && view.clientWidth !== width) heights.forget()
    width = view.clientWidth
    size.value = view.clientHeight
    triggerRef(layout)
    void nextTick(settle)
  })

  watch(
    scroller,
    (view, former) => {
      if (former) {
        viewResized.unobserve(former)
        former.removeEventListener('scroll', follow)
      }
      if (!view) return
      hidden = view.clientHeight === 0
      size.value = view.clientHeight
      width = view.clientWidth
      viewResized.observe(view)
      view.addEventListener('scroll', follow, { passive: true })
    },
    { immediate: true, flush: 'post' },
  )

  watch(
    rows,
    (list) => {
      follow()
      heights.setRows(list)
      triggerRef(layout)
      // Before the document changes: what is drawn is what the view will hold.
      top.value = Math.max(0, Math.min(goal(), heights.total - size.value))
    },
    { immediate: true },
  )
  // After it: rows that have come are measured before anything is painted.
  onMounted(settle)
  onUpdated(settle)

  onScopeDispose(() => {
    rest()
    resized.disconnect()
    viewResized.disconnect()
    scroller.value?.removeEventListener('scroll', follow)
  })

  /** Brings a row into view and holds on to it. */
  async function scrollTo(key: string, align: Align = 'start', margin = 0): Promise<boolean> {
    rest()
    // What is around the goal is measured on the way there, which moves the goal: a few rounds settle it.
    for (let round = 0; round < 4; round++) {
      const i = heights.indexOf(key)
      const view = scroller.value
      if (i === undefined || !view) return false
      const room = view.clientHeight - (heights.offset(i + 1) - heights.offset(i))
      const above = align === 'start' ? margin : align === 'end' ? room - margin : Math.max(margin, room / 2)
      atEnd.value = false
      place(heights.offset(i) - above)
      hold()
      await nextTick()
    }
    const view = scroller.value
    if (view) atEnd.value = complete() && heights.total - top.value - view.clientHeight <= nearEnd
    return true
  }

  function scrollToEnd(): void {
    rest()
    atEnd.value = complete()
    place(heights.total)
    hold()
  }

  /** Goes on the element of each row: `v-row="row.key"`. */
  const vRow: ObjectDirective<Element, string> = {
    mounted(element, { value }) {
      elements.set(element, value)
      resized.observe(element)
    },
    beforeUnmount(element) {
      elements.delete(element)
      resized.unobserve(element)
    },
  }

  return {
    visible,
    before,
    after,
    atEnd,
    vRow,
    scrollTo,
    scrollToEnd,
    /** The index of the first row in view. */
    firstInView: () => heights.at(top.value),
    /** Whether a row is in view now, at least in part; where it is if it isn't. */
    where: (key: string): 'above' | 'in' | 'below' | null => {
      const i = layout.value.indexOf(key)
      if (i === undefined) return null
      if (heights.offset(i + 1) <= top.value) return 'above'
      return heights.offset(i) >= top.value + size.value ? 'below' : 'in'
    },
  }
}
