import { readonly, ref, watchEffect } from 'vue'

export type Theme = 'auto' | 'light' | 'dark'

// public/theme.js reads the same key before the first paint.
const key = 'theme'
const theme = ref<Theme>(stored())

function stored(): Theme {
  try {
    const value = localStorage.getItem(key)
    return value === 'light' || value === 'dark' ? value : 'auto'
  } catch {
    return 'auto'
  }
}

watchEffect(() => {
  if (theme.value === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme.value
})
window.addEventListener('storage', (event) => {
  if (event.key === key) theme.value = stored()
})

function setTheme(value: Theme): void {
  theme.value = value
  try {
    if (value === 'auto') localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    // Storage is switched off: it holds until the page is loaded again.
  }
}

/** Light, dark, or as the system has it. */
export function useTheme(): { theme: Readonly<typeof theme>; setTheme: typeof setTheme } {
  return { theme: readonly(theme), setTheme }
}
