// Until when something is put off: times that people mean, on the clock of this device.

export interface Snooze {
  label: string
  until: Date
}

const morning = 8

/** What there is to choose from now. */
export function snoozes(now = new Date()): Snooze[] {
  const at = (daysLater: number, hour: number): Date =>
    new Date(now.getFullYear(), now.getMonth(), now.getDate() + daysLater, hour)
  const daysToMonday = (8 - now.getDay()) % 7 || 7
  const choices = [
    { label: 'In an hour', until: new Date(now.getTime() + 3_600_000) },
    { label: 'This evening', until: at(0, 18) },
    { label: 'Tomorrow morning', until: at(1, morning) },
    { label: 'Next week', until: at(daysToMonday, morning) },
  ]
  return choices.filter(({ label, until }, at) => {
    if (label === 'This evening') return until.getTime() - now.getTime() > 2 * 3_600_000
    return at !== 3 || daysToMonday > 1
  })
}
