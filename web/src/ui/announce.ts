import { readonly, ref } from 'vue'

const polite = ref('')
const assertive = ref('')

/** What screen readers are told; Announcer.vue in the shell says it. */
export const announcements = { polite: readonly(polite), assertive: readonly(assertive) }

/** Says something to those who don't see it. `urgent` interrupts what is being read. */
export function announce(text: string, urgent = false): void {
  const region = urgent ? assertive : polite
  // The same sentence twice is a change only with something that isn't heard.
  region.value = region.value === text ? `${text}\u00a0` : text
}

export function useAnnounce(): typeof announce {
  return announce
}
