import { readonly, ref } from 'vue'
import type { RouteLocationRaw } from 'vue-router'

export interface Toast {
  id: number
  text: string
  kind: 'plain' | 'success' | 'error'
  /** Below the text. */
  detail?: string
  /** Where a click on it leads. */
  to?: RouteLocationRaw
  /** What a click on it does, where that is more than to lead somewhere. */
  onOpen?: () => void
  action?: { label: string; run: () => void }
  /** Milliseconds it stays, counted while nobody points at it or has the focus in it; 0: until it is closed. */
  stay: number
}

export type NewToast = Partial<Omit<Toast, 'id' | 'text'>>

const most = 4
const toasts = ref<Toast[]>([])
let last = 0

/** Shows a toast, and answers how to take it away. */
function push(text: string, options: NewToast = {}): () => void {
  const kind = options.kind ?? 'plain'
  const id = ++last
  const toast: Toast = { stay: options.action || kind === 'error' ? 9_000 : 5_000, ...options, id, text, kind }
  toasts.value = [...toasts.value, toast].slice(-most)
  return () => {
    dismiss(id)
  }
}

/** Says that something was done, with a button that undoes it. */
function undoable(text: string, undo: () => void): () => void {
  return push(text, { action: { label: 'Undo', run: undo } })
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id)
}

const api = { toasts: readonly(toasts), push, undoable, dismiss }

export function useToasts(): typeof api {
  return api
}
