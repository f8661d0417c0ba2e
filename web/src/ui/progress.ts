import type { Progress } from '../api/types'

/** The lower one of two whole percents, so that 100 is only where all is done. 0 where there is nothing to do. */
export function percent({ done, total }: Pick<Progress, 'done' | 'total'>): number {
  if (total <= 0) return 0
  return Math.min(100, Math.max(0, Math.floor((100 * done) / total)))
}

/** "3 of 8 tasks done", as words. */
export function progressText({ done, total }: Pick<Progress, 'done' | 'total'>): string {
  if (total <= 0) return 'No tasks yet'
  const tasks = total === 1 ? 'task' : 'tasks'
  return done >= total ? `All ${total} ${tasks} done` : `${done} of ${total} ${tasks} done`
}
