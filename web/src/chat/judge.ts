// What a failed attempt to send a message means for the next one.

import { ApiError, errorText } from '../api/client'
import type { Verdict } from './outbox'

/** Trouble on the way may pass; what the server has refused, it would refuse again. */
export function judge(error: unknown): Verdict {
  if (error instanceof ApiError && error.temporary) return { kind: 'again', after: (error.retryAfter ?? 0) * 1000 }
  return { kind: 'refused', reason: errorText(error) }
}
