import { inject, type InjectionKey } from 'vue'

import type { OverviewHandle } from './useOverview'

export const overviewKey: InjectionKey<OverviewHandle> = Symbol('overview')

/** The overview of the page around. */
export function useOverviewHandle(): OverviewHandle {
  const handle = inject(overviewKey)
  if (!handle) throw new Error('this is drawn in the overview only')
  return handle
}
