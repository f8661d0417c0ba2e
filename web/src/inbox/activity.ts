// Tells the server that somebody is doing something, so that mail waits: an open tab says nothing, a click or a key does.

import { touch } from './requests'

/** ms */
export const atMostEach = 30_000

const key = 'touched-at'

function last(): number {
  try {
    return Number(localStorage.getItem(key)) || 0
  } catch {
    return 0
  }
}

/** Listens, all tabs together at most each half minute. Answers how to stop. */
export function watchActivity(isIn: () => boolean): () => void {
  let mine = 0
  const heard = (event: Event): void => {
    const now = Date.now()
    if (!event.isTrusted || !isIn() || now - mine < atMostEach) return
    mine = now
    if (Math.abs(now - last()) < atMostEach) return
    try {
      localStorage.setItem(key, String(now))
    } catch {
      // Each tab counts by itself then.
    }
    touch().catch(() => (mine = 0)) // with the next click, again
  }
  const events = ['pointerdown', 'keydown'] as const
  for (const event of events) window.addEventListener(event, heard, { capture: true, passive: true })
  return () => {
    for (const event of events) window.removeEventListener(event, heard, { capture: true })
  }
}
