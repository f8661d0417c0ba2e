// Tells the inbox what is being looked at, so that nobody is told of what they see anyway.

import type { MaybeRefOrGetter } from 'vue'

export function useOnScreen(group: MaybeRefOrGetter<string | null>): void {
  void group
}
