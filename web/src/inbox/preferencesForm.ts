// The form of the preferences page: made of what the server has, and back into what it takes.

import { get } from '../api/client'
import type { Project } from '../api/types'
import { dateString } from '../time'
import { ruleForm, ruleOf, type KnownKind, type MailRule, type Preferences, type RuleForm } from './preferences'

export interface PreferencesForm {
  time_zone: string
  quiet: boolean
  from: string
  to: string
  vacation: boolean
  /** The first day with mail again, YYYY-MM-DD. */
  back: string
  default: RuleForm
  kinds: Record<string, RuleForm>
  mutedProjects: readonly number[]
}

const projectGroup = /^project:(\d+)$/

export function formOf(preferences: Preferences): PreferencesForm {
  const { quiet_hours: quiet, vacation_until: until } = preferences
  const kinds: Record<string, RuleForm> = {}
  for (const kind of preferences.known_kinds) kinds[kind.name] = ruleForm(preferences.kinds[kind.name], kind.delay)
  return {
    time_zone: preferences.time_zone ?? '',
    quiet: quiet !== null,
    from: quiet?.from ?? '22:00',
    to: quiet?.to ?? '07:00',
    vacation: until !== null && Date.parse(until) > Date.now(),
    back: until !== null ? dateString(0, Date.parse(until)) : dateString(7),
    default: ruleForm(preferences.default),
    kinds,
    mutedProjects: preferences.muted_groups.flatMap((group) => {
      const id = projectGroup.exec(group)?.[1]
      return id === undefined ? [] : [Number(id)]
    }),
  }
}

/** Rejects with an ApiError where a project's conversations can't be read. */
export async function preferencesOf(
  form: PreferencesForm,
  before: Preferences,
): Promise<Omit<Preferences, 'known_kinds'>> {
  // Rules for kinds that the page doesn't know stay.
  const kinds: Record<string, MailRule> = { ...before.kinds }
  for (const [name, entered] of Object.entries(form.kinds)) {
    const rule = ruleOf(entered)
    if (rule) kinds[name] = rule
    else delete kinds[name] // eslint-disable-line @typescript-eslint/no-dynamic-delete
  }
  return {
    time_zone: form.time_zone || null,
    quiet_hours: form.quiet ? { from: form.from, to: form.to } : null,
    vacation_until: form.vacation && form.back ? startOf(form.back) : null,
    default: ruleOf(form.default),
    kinds,
    muted_groups: await groupsOf(form.mutedProjects, before),
  }
}

/** What can be told to be wrong before it is sent, by field as the server would name it. */
export function problemsOf(form: PreferencesForm): Record<string, string> {
  const problems: Record<string, string> = {}
  const rules = { default: form.default, ...prefixed(form.kinds) }
  for (const [field, { mail, amount, unit, at }] of Object.entries(rules)) {
    if (mail === 'daily' && !at) problems[`${field}.at`] = 'Choose a time of the day.'
    if (mail !== 'after') continue
    const most = { m: 30 * 24 * 60, h: 30 * 24, d: 30 }[unit]
    if (!/^\d+$/.test(amount.trim()) || Number(amount) < 1) {
      problems[`${field}.delay`] = `“${amount}” isn’t a whole number from 1 on. Give one such as 4.`
    } else if (Number(amount) > most) problems[`${field}.delay`] = 'That is more than 30 days. Choose less, or never.'
  }
  if (form.quiet && (!form.from || !form.to)) problems.quiet_hours = 'Choose when the night begins and when it ends.'
  else if (form.quiet && form.from === form.to) {
    problems.quiet_hours = `The night can’t begin and end at ${form.from}. Choose two times.`
  }
  if (form.vacation && !(form.back > dateString(0))) problems.vacation_until = 'Choose a day to come.'
  return problems
}

function prefixed(kinds: Record<string, RuleForm>): Record<string, RuleForm> {
  return Object.fromEntries(Object.entries(kinds).map(([name, rule]) => [`kinds.${name}`, rule]))
}

/** Midnight of a day here. */
function startOf(day: string): string {
  const [year = 0, month = 1, date = 1] = day.split('-').map(Number)
  return new Date(year, month - 1, date).toISOString()
}

/** A project's notifications are of its own group or of its conversations': what becomes muted or isn't any more takes them along. */
async function groupsOf(muted: readonly number[], before: Preferences): Promise<string[]> {
  const groups = new Set(before.muted_groups)
  const was = new Set(before.muted_groups.flatMap((group) => projectGroup.exec(group)?.[1] ?? []).map(Number))
  const changed = [...new Set([...was, ...muted])].filter((id) => was.has(id) !== muted.includes(id))
  const found = await Promise.all(changed.map(async (id) => ({ id, chats: await chatsOf(id) })))
  for (const { id, chats } of found) {
    for (const group of [`project:${id}`, ...chats]) {
      if (muted.includes(id)) groups.add(group)
      else groups.delete(group)
    }
  }
  return [...groups]
}

async function chatsOf(project: number): Promise<string[]> {
  const { conversations } = await get<Pick<Project, 'conversations'>>(`/api/projects/${project}`)
  return conversations.map(({ id }) => `chat:${id}`)
}

export function byTitle(kinds: readonly KnownKind[]): KnownKind[] {
  return [...kinds].sort((a, b) => a.title.localeCompare(b.title))
}
