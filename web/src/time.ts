// Dates and times as the reader's zone and language have them.

import { readonly, ref } from 'vue'

import type { DateString, Time } from './api/types'

const minute = 60_000
const hour = 60 * minute
const day = 24 * hour

const language = typeof navigator === 'undefined' ? 'en' : navigator.language
/** The page is in English; dates keep the region's order only where the reader's language is English too. */
const locale = language.startsWith('en') ? language : 'en-GB'

const formats = {
  time: new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' }),
  weekday: new Intl.DateTimeFormat(locale, { weekday: 'long' }),
  day: new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short' }),
  dayYear: new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', year: 'numeric' }),
  full: new Intl.DateTimeFormat(locale, { dateStyle: 'full', timeStyle: 'short' }),
  fullDate: new Intl.DateTimeFormat(locale, { dateStyle: 'full' }),
  relative: new Intl.RelativeTimeFormat('en', { numeric: 'auto' }),
  relativeShort: new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'narrow' }),
}

const nowRef = ref(Date.now())
let users = 0
let timer: ReturnType<typeof setInterval> | undefined

/** The time, to the half minute; runs while somebody looks. Call the answer's `stop` when done. */
export function ticking(): { now: Readonly<typeof nowRef>; stop: () => void } {
  nowRef.value = Date.now()
  if (users++ === 0) {
    timer = setInterval(() => {
      nowRef.value = Date.now()
    }, 30_000)
  }
  let stopped = false
  return {
    now: readonly(nowRef),
    stop: () => {
      if (stopped) return
      stopped = true
      if (--users === 0) clearInterval(timer)
    },
  }
}

/** The zone of this device, as IANA names it. */
export function deviceZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone
}

/** "just now", "5 minutes ago", "yesterday", and a date where it is longer ago than a week. */
export function relativeTime(time: Time, now = Date.now(), short = false): string {
  const at = Date.parse(time)
  const ago = now - at
  const format = short ? formats.relativeShort : formats.relative
  if (Math.abs(ago) < minute) return short ? 'now' : 'just now'
  if (Math.abs(ago) < hour) return format.format(-Math.trunc(ago / minute), 'minute')
  if (Math.abs(ago) < day) return format.format(-Math.trunc(ago / hour), 'hour')
  const days = dayNumber(new Date(now)) - dayNumber(new Date(at))
  if (Math.abs(days) < 7) return format.format(-days, 'day')
  return dayOf(new Date(at), new Date(now))
}

/** "14:05". */
export function timeOfDay(time: Time): string {
  return formats.time.format(new Date(time))
}

/** "Thursday, 12 March 2026 at 14:05". */
export function fullTime(time: Time): string {
  return formats.full.format(new Date(time))
}

/** "Today", "Yesterday", "Thursday", "12 Mar", "12 Mar 2025": the heading of a day. */
export function dayHeading(time: Time, now = Date.now()): string {
  const at = new Date(time)
  const days = dayNumber(new Date(now)) - dayNumber(at)
  if (days === 0) return 'Today'
  if (days === 1) return 'Yesterday'
  if (days > 1 && days < 7) return formats.weekday.format(at)
  return dayOf(at, new Date(now))
}

/** A date without a time, read as that day wherever the reader is. */
export function parseDate(date: DateString): Date {
  const [year = 1970, month = 1, dayOfMonth = 1] = date.split('-').map(Number)
  return new Date(year, month - 1, dayOfMonth)
}

/** "today", "tomorrow", "Thursday", "12 Mar": when something is due. */
export function dateText(date: DateString, now = Date.now()): string {
  const at = parseDate(date)
  const days = daysUntil(date, now)
  if (days === 0) return 'today'
  if (days === 1) return 'tomorrow'
  if (days === -1) return 'yesterday'
  if (days > 1 && days < 7) return formats.weekday.format(at)
  return dayOf(at, new Date(now))
}

/** "Thursday, 12 March 2026". */
export function fullDate(date: DateString): string {
  return formats.fullDate.format(parseDate(date))
}

/** Days from the reader's today; negative where it is over. */
export function daysUntil(date: DateString, now = Date.now()): number {
  return dayNumber(parseDate(date)) - dayNumber(new Date(now))
}

/** The reader's today, or some days later, as YYYY-MM-DD. */
export function dateString(daysLater = 0, now = Date.now()): DateString {
  const at = new Date(now)
  const then = new Date(at.getFullYear(), at.getMonth(), at.getDate() + daysLater)
  const two = (number: number): string => String(number).padStart(2, '0')
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}`
}

function dayOf(at: Date, now: Date): string {
  return (at.getFullYear() === now.getFullYear() ? formats.day : formats.dayYear).format(at)
}

/** Counts days of the reader's calendar; summer time doesn't shift it. */
function dayNumber(at: Date): number {
  return Date.UTC(at.getFullYear(), at.getMonth(), at.getDate()) / day
}
