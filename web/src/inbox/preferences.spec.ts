import { describe, expect, it } from 'vitest'

import {
  delayText,
  errorsByPart,
  parseDelay,
  ruleForm,
  ruleOf,
  standardText,
  type MailRule,
  type Preferences,
} from './preferences'
import { formOf, preferencesOf, problemsOf } from './preferencesForm'
import { snoozes } from './snooze'

describe('rules', () => {
  it.each([
    ['30m', '30', 'm'],
    ['4h', '4', 'h'],
    ['1h30m', '90', 'm'],
    ['48h', '2', 'd'],
    ['30h', '30', 'h'],
    ['90s', '2', 'm'],
  ])('read a delay of %s', (delay, amount, unit) => {
    expect(parseDelay(delay)).toEqual({ amount, unit })
  })

  it.each<MailRule | null>([
    null,
    { mail: 'at_once' },
    { mail: 'never' },
    { mail: 'after', delay: '90m' },
    { mail: 'after', delay: '48h' },
    { mail: 'daily', at: '07:30' },
  ])('come out as they went in: %o', (rule) => {
    expect(ruleOf(ruleForm(rule))).toEqual(rule)
  })

  it('leave what makes no sense to the server', () => {
    expect(ruleOf({ mail: 'after', amount: 'two', unit: 'h', at: '' })).toEqual({ mail: 'after', delay: 'twoh' })
  })

  it('say what holds by itself', () => {
    expect(delayText('24h')).toBe('1 day')
    expect(standardText({ name: 'x', title: 'X', mail: 'after', delay: '2h' })).toBe('As usual: after 2 hours')
  })
})

it('puts errors where their fields are', () => {
  expect(
    errorsByPart({ 'kinds.task.completed.delay': 'a', 'quiet_hours.from': 'b', time_zone: 'c', 'default.at': 'd' }),
  ).toEqual({ 'kinds.task.completed': 'a', quiet_hours: 'b', time_zone: 'c', default: 'd' })
})

describe('the form', () => {
  const kept: Preferences = {
    time_zone: 'Europe/Berlin',
    quiet_hours: { from: '22:00', to: '07:00' },
    vacation_until: null,
    default: null,
    kinds: { mention: { mail: 'at_once' }, unknown: { mail: 'never' } },
    muted_groups: ['project:7', 'chat:3', 'other'],
    known_kinds: [
      { name: 'mention', title: 'Mention', mail: 'after', delay: '10m' },
      { name: 'task.completed', title: 'Task completed', mail: 'after', delay: '4h' },
    ],
  }

  it('sends back what it got, with what it does not know', async () => {
    expect({ ...(await preferencesOf(formOf(kept), kept)), known_kinds: kept.known_kinds }).toEqual(kept)
  })

  it('says what can’t be, at its field', () => {
    const form = formOf(kept)
    expect(problemsOf(form)).toEqual({})
    form.kinds.mention = { mail: 'after', amount: 'two', unit: 'h', at: '' }
    form.kinds['task.completed'] = { mail: 'after', amount: '31', unit: 'd', at: '' }
    form.default = { mail: 'daily', amount: '', unit: 'h', at: '' }
    form.to = form.from
    form.vacation = true
    form.back = '2020-01-01'
    expect(Object.keys(problemsOf(form)).sort()).toEqual([
      'default.at',
      'kinds.mention.delay',
      'kinds.task.completed.delay',
      'quiet_hours',
      'vacation_until',
    ])
    // What isn't switched on isn't wrong.
    Object.assign(form, { quiet: false, vacation: false, default: ruleForm(null), kinds: {} })
    expect(problemsOf(form)).toEqual({})
  })

  it('leaves out what was switched off', async () => {
    const form = formOf(kept)
    form.quiet = false
    form.time_zone = ''
    form.kinds.mention = ruleForm(null)
    form.kinds['task.completed'] = { mail: 'daily', amount: '', unit: 'h', at: '18:00' }
    expect(await preferencesOf(form, kept)).toMatchObject({
      quiet_hours: null,
      time_zone: null,
      kinds: { unknown: { mail: 'never' }, 'task.completed': { mail: 'daily', at: '18:00' } },
    })
  })
})

describe('snoozes', () => {
  it('are all to come', () => {
    for (const hour of [0, 7, 12, 15, 17, 23]) {
      for (let day = 1; day <= 7; day++) {
        const now = new Date(2026, 10, day, hour, 30)
        const found = snoozes(now)
        expect(found.every(({ until }) => until.getTime() - now.getTime() >= 3_600_000)).toBe(true)
        expect(new Set(found.map(({ until }) => until.getTime())).size).toBe(found.length)
      }
    }
  })
})
