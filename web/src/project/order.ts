// The order of tasks and milestones: by rank, then by id.

interface Ranked {
  readonly id: number
  readonly rank: number
}

/** Compares two as the server orders them. */
export function byRank(a: Ranked, b: Ranked): number {
  return a.rank - b.rank || a.id - b.id
}

/**
 * Puts some into an ordered list and takes some out of it, in one pass: a burst of changes costs one copy of the list and not
 * one each.
 */
export function merge<T extends Ranked>(list: readonly T[], put: readonly T[], out: ReadonlySet<number>): T[] {
  const added = [...put].sort(byRank)
  const result: T[] = []
  let next = 0
  for (const item of list) {
    if (out.has(item.id)) continue
    for (let one = added[next]; one && byRank(one, item) < 0; one = added[++next]) result.push(one)
    result.push(item)
  }
  for (; next < added.length; next++) result.push(added[next] as T)
  return result
}

/** How far ranks of neighbours at the end of a list are apart. */
const STEP = 1024

/** The rank of what stands behind `after` (0: first) in an ordered list of its siblings; at the end where it isn't there. */
export function rankBehind(siblings: readonly Ranked[], after: number): number {
  const first = siblings[0]
  if (!first) return STEP
  if (after === 0) return first.rank - STEP
  const at = siblings.findIndex((one) => one.id === after)
  const before = siblings[at < 0 ? siblings.length - 1 : at]
  const behind = at < 0 ? undefined : siblings[at + 1]
  if (!before) return STEP
  return behind ? (before.rank + behind.rank) / 2 : before.rank + STEP
}
