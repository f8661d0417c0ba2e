// What somebody wants mail about and when, as the server keeps it and as the page's form has it.

import type { Time } from '../api/types'

export type MailRule =
  { mail: 'at_once' } | { mail: 'after'; delay: string } | { mail: 'daily'; at: string } | { mail: 'never' }

export interface KnownKind {
  name: string
  title: string
  /** What holds for who prefers nothing. */
  mail: MailRule['mail']
  delay: string | null
}

export interface Preferences {
  time_zone: string | null
  quiet_hours: { from: string; to: string } | null
  vacation_until: Time | null
  default: MailRule | null
  kinds: Record<string, MailRule>
  muted_groups: string[]
  known_kinds: KnownKind[]
}

/** A rule as its three controls have it: what isn't chosen keeps what was entered. */
export interface RuleForm {
  mail: MailRule['mail'] | 'standard'
  /** Whole number, as entered. */
  amount: string
  unit: 'm' | 'h' | 'd'
  at: string
}

const seconds = { d: 86_400, h: 3_600, m: 60, s: 1 } as const

/** Reads a delay such as 1h30m into its largest whole unit. */
export function parseDelay(delay: string): { amount: string; unit: RuleForm['unit'] } {
  let total = 0
  for (const [, amount = '0', unit] of delay.matchAll(/(\d+)([hms])/g)) {
    total += Number(amount) * seconds[unit as 'h' | 'm' | 's']
  }
  for (const unit of ['d', 'h', 'm'] as const) {
    if (total >= seconds[unit] && total % seconds[unit] === 0) return { amount: String(total / seconds[unit]), unit }
  }
  return { amount: String(Math.max(1, Math.round(total / 60))), unit: 'm' }
}

/** "4 hours", "1 day". */
export function delayText(delay: string): string {
  const short = /^(\d+)s$/.exec(delay)?.[1]
  if (short !== undefined && Number(short) < 60) return `${short} seconds`
  const { amount, unit } = parseDelay(delay)
  const name = { m: 'minute', h: 'hour', d: 'day' }[unit]
  return `${amount} ${name}${amount === '1' ? '' : 's'}`
}

export function ruleForm(rule: MailRule | null | undefined, standard: string | null = null): RuleForm {
  const form: RuleForm = { mail: rule?.mail ?? 'standard', ...parseDelay(standard ?? '4h'), at: '18:00' }
  if (rule?.mail === 'after') Object.assign(form, parseDelay(rule.delay))
  if (rule?.mail === 'daily') form.at = rule.at
  return form
}

/** What is sent of a form; null for what is left as it is by itself. What can't be is for the server to refuse, in its words. */
export function ruleOf({ mail, amount, unit, at }: RuleForm): MailRule | null {
  switch (mail) {
    case 'standard':
      return null
    case 'after': {
      const hours = unit === 'd' ? Number(amount) * 24 : amount.trim()
      return { mail, delay: `${hours}${unit === 'd' ? 'h' : unit}` }
    }
    case 'daily':
      return { mail, at }
    default:
      return { mail }
  }
}

/** A sentence of what holds for a kind where nothing is chosen. */
export function standardText({ mail, delay }: KnownKind): string {
  if (mail === 'after' && delay) return `As usual: after ${delayText(delay)}`
  if (mail === 'at_once') return 'As usual: at once'
  if (mail === 'never') return 'As usual: never'
  return 'As usual'
}

/** Of a field's name in an error, the part that a form shows it at: kinds.task.completed.delay is the kind's. */
export function errorsByPart(fields: Readonly<Record<string, string>>): Record<string, string> {
  const parts: Record<string, string> = {}
  for (const [field, text] of Object.entries(fields)) {
    const part = field.startsWith('kinds.') ? field.replace(/\.(delay|at|mail)$/, '') : (field.split('.')[0] ?? field)
    parts[part] ??= text
  }
  return parts
}
