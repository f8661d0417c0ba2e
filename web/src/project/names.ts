/** "Anna", "Anna and Ben", "Anna, Ben and 3 others". */
export function listed(names: readonly string[], most: number): string {
  const rest = names.length - most
  const shown = rest > 0 ? [...names.slice(0, most), rest === 1 ? '1 other' : `${rest} others`] : [...names]
  const last = shown.pop() ?? ''
  return shown.length > 0 ? `${shown.join(', ')} and ${last}` : last
}
