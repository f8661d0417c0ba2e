import { mount } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'

import { percent, progressText } from './progress'
import ProgressBar from './ProgressBar.vue'

describe('percent', () => {
  it.each([
    [0, 0, 0],
    [0, 3, 0],
    [1, 3, 33],
    [2, 3, 66],
    [199, 200, 99], // never 100 before all is done
    [999, 1000, 99],
    [200, 200, 100],
    [5, 4, 100],
  ])('%d of %d is %d', (done, total, expected) => {
    expect(percent({ done, total })).toBe(expected)
  })
})

describe('progressText', () => {
  it.each([
    [0, 0, 'No tasks yet'],
    [0, 1, '0 of 1 task done'],
    [1, 1, 'All 1 task done'],
    [3, 8, '3 of 8 tasks done'],
    [8, 8, 'All 8 tasks done'],
  ])('%d of %d', (done, total, expected) => {
    expect(progressText({ done, total })).toBe(expected)
  })
})

describe('ProgressBar', () => {
  it('says to the ear what it shows', async () => {
    const bar = mount(ProgressBar, { props: { done: 2, total: 3, label: 'Progress of Kitchen' } })
    const track = bar.get('[role=progressbar]')
    expect(track.attributes()).toMatchObject({
      'aria-label': 'Progress of Kitchen',
      'aria-valuenow': '66',
      'aria-valuetext': '66 %, 2 of 3 tasks done',
    })
    await bar.setProps({ done: 3 })
    expect(track.attributes('aria-valuetext')).toBe('100 %, All 3 tasks done')
  })

  it('has no percents without tasks', () => {
    const bar = mount(ProgressBar, { props: { done: 0, total: 0, label: 'Progress' } })
    expect(bar.text()).toBe('No tasks yet')
    expect(bar.get('[role=progressbar]').attributes('aria-valuetext')).toBe('No tasks yet')
  })

  it('moves the bar by as much', async () => {
    const bar = mount(ProgressBar, { props: { done: 1, total: 4, label: 'Progress' } })
    expect(bar.get('.fill').attributes('style')).toContain('translateX(-75%)')
    await bar.setProps({ done: 4 })
    expect(bar.get('.fill').attributes('style')).toMatch(/translateX\(-?0%\)/)
  })
})
