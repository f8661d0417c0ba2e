// Notifications of the browser: only after a click that asked for them, only while nobody sees the page, and by one tab of several.

import { computed, ref } from 'vue'

import type { Item } from './types'

/**
 * `asked` while the browser's question is open. `denied` is for the person to change in the browser. `insecure` where there is
 * no https, without which browsers show none, and `impossible` where the browser knows none.
 */
export type BrowserState = 'off' | 'asked' | 'denied' | 'on' | 'insecure' | 'impossible'

const key = 'browser-notifications'
const visibleLock = 'inbox-visible'
/** How long the others are kept from showing what one tab shows: ms. */
const shownFor = 10_000

const wanted = ref(stored())
const asking = ref(false)
const permission = ref(read())

function stored(): boolean {
  try {
    return localStorage.getItem(key) === 'on'
  } catch {
    return false
  }
}

function store(on: boolean): void {
  wanted.value = on
  try {
    if (on) localStorage.setItem(key, 'on')
    else localStorage.removeItem(key)
  } catch {
    // Storage is switched off: it holds until the page is loaded again.
  }
}

function read(): NotificationPermission | undefined {
  return typeof Notification === 'undefined' ? undefined : Notification.permission
}

const state = computed<BrowserState>(() => {
  if (permission.value === undefined)
    return typeof window !== 'undefined' && !window.isSecureContext ? 'insecure' : 'impossible'
  if (asking.value) return 'asked'
  if (permission.value === 'denied') return 'denied'
  return wanted.value && permission.value === 'granted' ? 'on' : 'off'
})

if (typeof window !== 'undefined') {
  window.addEventListener('storage', (event) => {
    if (event.key === key) wanted.value = stored()
  })
  // It may have been changed in the browser's settings.
  window.addEventListener('focus', () => (permission.value = read()))
}

/** Asks the browser, from a click. */
async function switchOn(): Promise<void> {
  if (permission.value === undefined) return
  if (Notification.permission === 'default') {
    asking.value = true
    try {
      await Notification.requestPermission()
    } finally {
      asking.value = false
    }
  }
  permission.value = read()
  if (permission.value === 'granted') store(true)
}

const api = {
  state,
  switchOn,
  switchOff: (): void => {
    store(false)
  },
}

export function useBrowserNotifications(): typeof api {
  return api
}

/** While a tab is seen it holds a lock that the hidden ones can look for. Answers how to stop. */
export function showVisibility(): () => void {
  if (!('locks' in navigator)) return () => undefined
  let release: (() => void) | undefined
  const update = (): void => {
    if (document.visibilityState !== 'visible') {
      release?.()
      release = undefined
    } else if (!release) {
      const held = new Promise<void>((resolve) => (release = resolve))
      void navigator.locks.request(visibleLock, { mode: 'shared' }, () => held)
    }
  }
  update()
  document.addEventListener('visibilitychange', update)
  return () => {
    document.removeEventListener('visibilitychange', update)
    release?.()
  }
}

/** Shows an item, unless another tab is seen or has shown it. */
export async function showInBrowser(item: Item, open: (item: Item) => void): Promise<void> {
  if (state.value !== 'on') return
  await once(`inbox-${item.id}-${item.seq}`, () => {
    const note = new Notification(item.text, {
      ...(item.data?.group_title ? { body: item.data.group_title } : {}),
      tag: `inbox-${item.id}`, // where there are no locks, the same one twice is shown once
      icon: '/icon.svg',
    })
    note.addEventListener('click', () => {
      window.focus()
      note.close()
      open(item)
    })
  })
}

async function once(name: string, show: () => void): Promise<void> {
  if (!('locks' in navigator)) {
    show()
    return
  }
  // Exclusive, so it isn't given while any tab is seen.
  const unseen = await navigator.locks.request(visibleLock, { ifAvailable: true }, (lock) =>
    Promise.resolve(lock !== null),
  )
  if (!unseen) return
  void navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
    if (!lock) return
    show()
    await new Promise((resolve) => setTimeout(resolve, shownFor))
  })
}
