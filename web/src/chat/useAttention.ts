// Whether somebody looks at the page: it is visible, and its window has the focus.

import { onScopeDispose, readonly, ref, type Ref } from 'vue'

export function useAttention(): { attentive: Readonly<Ref<boolean>> } {
  const look = (): boolean => document.visibilityState === 'visible' && document.hasFocus()
  const attentive = ref(look())
  const update = (): void => {
    attentive.value = look()
  }
  const events = ['focus', 'blur', 'pageshow'] as const
  for (const event of events) window.addEventListener(event, update)
  document.addEventListener('visibilitychange', update)
  onScopeDispose(() => {
    for (const event of events) window.removeEventListener(event, update)
    document.removeEventListener('visibilitychange', update)
  })
  return { attentive: readonly(attentive) }
}
