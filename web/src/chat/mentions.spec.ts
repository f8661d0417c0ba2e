import { describe, expect, it } from 'vitest'

import { labels, matching, queryAt, toBody, toLine, toText } from './mentions'
import { person } from './sample'

describe('toBody', () => {
  const mentioned = new Map([
    ['Ann', 1],
    ['Ann Able', 2],
    ['Björn Ek', 3],
  ])
  it.each([
    ['hello @Ann', 'hello @[Ann](person:1)', [1]],
    ['@Ann Able, @Ann', '@[Ann Able](person:2), @[Ann](person:1)', [2, 1]],
    ['@Anna', '@Anna', []],
    ['ann@Ann', 'ann@Ann', []],
    ['(@Björn Ek)', '(@[Björn Ek](person:3))', [3]],
    ['@Somebody', '@Somebody', []],
    ['@Ann @Ann', '@[Ann](person:1) @[Ann](person:1)', [1]],
    ['already @[Zoe](person:9)', 'already @[Zoe](person:9)', [9]],
    ['', '', []],
  ])('converts %j', (text, body, mentions) => {
    expect(toBody(text, mentioned)).toEqual({ body, mentions })
  })

  it('comes back as it was written', () => {
    const text = 'Dear @Ann Able and @Björn Ek,\n\nsee @Ann.'
    const back = toText(toBody(text, mentioned).body)
    expect(back.text).toBe(text)
    expect(toBody(back.text, back.mentioned)).toEqual(toBody(text, mentioned))
  })

  it('keeps apart two people with one name', () => {
    const body = '@[Ann](person:1) @[Ann](person:2)'
    const { text, mentioned: who } = toText(body)
    expect(toBody(text, who)).toEqual({ body, mentions: [1, 2] })
  })
})

describe('labels', () => {
  it('gives no two people the same one', () => {
    const people = [
      person(1, 'Ann', 'Acme'),
      person(2, 'Ann', 'Acme'),
      person(3, 'Ann'),
      person(4, 'Bob [the] Builder'),
      person(5, 'Cy'),
    ]
    const given = labels(people)
    expect(new Set(given.values()).size).toBe(people.length)
    expect(given.get(4)).toBe('Bob the Builder')
    expect(given.get(5)).toBe('Cy')
    for (const [id, label] of given) expect(toBody(`@${label}`, new Map([[label, id]])).mentions).toEqual([id])
  })
})

describe('queryAt', () => {
  it.each([
    ['hi @an', 6, { at: 3, query: 'an' }],
    ['@', 1, { at: 0, query: '' }],
    ['mail me@home', 12, null],
    ['@Ann Able', 9, { at: 0, query: 'Ann Able' }],
    ['@ann\nmore', 9, null],
    ['@ ', 2, null],
    ['@[Ann](person:1)', 16, null],
    ['hi @an and so on for long', 25, null],
    ['hi @an', 2, null],
  ])('finds what is typed in %j at %i', (text, caret, found) => {
    expect(queryAt(text, caret)).toEqual(found)
  })
})

describe('matching', () => {
  it('goes by the beginnings of names, case and accents aside', () => {
    const people = [person(1, 'Ann Able'), person(2, 'Björn Ek'), person(3, 'Joan Ekström')]
    expect(matching(people, 'ek').map((each) => each.id)).toEqual([2, 3])
    expect(matching(people, 'bjo').map((each) => each.id)).toEqual([2])
    expect(matching(people, 'ann a').map((each) => each.id)).toEqual([1])
    expect(matching(people, 'x')).toEqual([])
    expect(matching(people, '')).toHaveLength(3)
  })
})

describe('toLine', () => {
  it('makes a bounded line without marks of mentions', () => {
    expect(toLine('Hi @[Ann](person:1),\n\nwell', 100)).toBe('Hi @Ann, well')
    expect(toLine('abcdefghij', 5)).toBe('abcd…')
  })
})
