// Whether somebody can see the page.

import { onScopeDispose, readonly, ref, type Ref } from 'vue'

export function useVisible(): { visible: Readonly<Ref<boolean>> } {
  const visible = ref(document.visibilityState === 'visible')
  const update = (): void => {
    visible.value = document.visibilityState === 'visible'
  }
  document.addEventListener('visibilitychange', update)
  onScopeDispose(() => {
    document.removeEventListener('visibilitychange', update)
  })
  return { visible: readonly(visible) }
}
