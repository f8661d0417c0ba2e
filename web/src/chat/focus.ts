// Where the focus goes when what had it is gone.

import { nextTick } from 'vue'

/** Once a menu or dialog has closed and the focus is nowhere, or still in the same place, an element gets it. */
export function focusAgain(find: () => HTMLElement | null | undefined): void {
  void nextTick(() => {
    // It gives the focus back in a timer of its own, set before this one.
    setTimeout(() => {
      const element = find()
      const now = document.activeElement
      if (element && (now === null || now === document.body || element.contains(now)))
        element.focus({ preventScroll: true })
    })
  })
}
