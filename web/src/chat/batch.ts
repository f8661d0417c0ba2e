// Gathers what comes between two pictures.

const longest = 100 // ms; a page that isn't shown draws no pictures

/** Calls once for all requests of a frame, or at once when it is flushed. */
export function batch(call: () => void): { request: () => void; flush: () => void; cancel: () => void } {
  let frame: number | null = null
  let timer: ReturnType<typeof setTimeout> | undefined

  function cancel(): void {
    if (frame !== null) cancelAnimationFrame(frame)
    clearTimeout(timer)
    frame = null
  }
  function flush(): void {
    cancel()
    call()
  }
  return {
    request: () => {
      if (frame !== null) return
      frame = requestAnimationFrame(flush)
      timer = setTimeout(flush, longest)
    },
    flush,
    cancel,
  }
}
