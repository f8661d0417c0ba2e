// What the inbox does by itself, wherever somebody is on the page: toasts, notifications of the browser, saying who is active.

import { effectScope, onScopeDispose, watch } from 'vue'
import type { Router } from 'vue-router'

import { useSession } from '../session'
import { setUnreadInTitle } from '../title'
import { useToasts } from '../ui/toasts'
import { watchActivity } from './activity'
import { mostToasts, tell } from './announcing'
import { showInBrowser, showVisibility } from './browser'
import { addressOf, pathOf } from './links'
import { inboxGroup, isOnScreen } from './onScreen'
import type { Item } from './types'
import { useInbox } from './useInbox'

const stay = 8_000 // ms: there are two lines to read

/** Opens what an item is about, and marks it read. */
export function openItem(router: Router, item: Item): void {
  const path = pathOf(item.link)
  const address = addressOf(item.link)
  if (item.read_at === null) {
    useInbox()
      .setRead([item.id], true)
      .catch(() => undefined) // it stays unread, as one sees
  }
  if (path !== null) void router.push(path)
  else if (address !== null) window.open(address, '_blank', 'noopener')
}

let started = false

/** Begins, once: it goes on until the page is closed. */
export function startInbox(router: Router): void {
  if (started) return
  started = true
  effectScope(true).run(() => {
    run(router)
  })
}

function run(router: Router): void {
  const inbox = useInbox()
  const { me, isIn } = useSession()
  const { push } = useToasts()
  let shown: (() => void)[] = []

  const toast = (text: string, options: Parameters<typeof push>[1]): void => {
    shown.push(push(text, { stay, ...options }))
    while (shown.length > mostToasts) shown.shift()?.()
  }
  const stop = inbox.onArrival((items) => {
    if (!me.value) return
    const telling = tell(items, {
      hidden: document.visibilityState !== 'visible',
      isOnScreen,
      me: me.value.id,
      inboxOpen: isOnScreen(inboxGroup),
    })
    for (const item of telling.toasts) {
      toast(item.text, {
        ...(item.data?.group_title ? { detail: item.data.group_title } : {}),
        onOpen: () => {
          openItem(router, item)
        },
      })
    }
    if (telling.more > 0) toast(`${telling.more} new notifications`, { to: { name: 'inbox' } })
    for (const item of telling.browser) {
      void showInBrowser(item, (clicked) => {
        openItem(router, clicked)
      })
    }
  })
  onScopeDispose(stop)
  onScopeDispose(showVisibility())
  onScopeDispose(watchActivity(() => isIn.value))
  watch(inbox.unseen, setUnreadInTitle, { immediate: true })
  // Who looks at the notifications, or has left, needs no toasts.
  watch([isIn, () => isOnScreen(inboxGroup)], ([signedIn, looks]) => {
    if (signedIn && !looks) return
    for (const dismiss of shown) dismiss()
    shown = []
  })
}
