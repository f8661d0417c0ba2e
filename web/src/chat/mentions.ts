// Mentions: "@Ann Able" in the field, "@[Ann Able](person:7)" in what is sent.

import type { Person } from '../api/types'

/** Who is meant by which label in a field: "Ann Able" → 7. */
export type Mentioned = Map<string, number>

/** What is sent. */
export interface Converted {
  body: string
  mentions: number[]
}

const token = /@\[([^\]\n]{1,100})\]\(person:(\d{1,15})\)/g

/** A name as it can stand within a token: without brackets, backslashes and line breaks. */
function plain(name: string): string {
  return name.replace(/[[\]\\\s]+/g, ' ').trim()
}

/** The label of each person, no two alike: people with one name get their company, or else their number, behind it. */
export function labels(people: readonly Person[]): Map<number, string> {
  const result = new Map<number, string>()
  const count = new Map<string, number>()
  for (const person of people) count.set(plain(person.name), (count.get(plain(person.name)) ?? 0) + 1)
  const taken = new Set<string>()
  for (const person of people) {
    let label = plain(person.name)
    if ((count.get(label) ?? 0) > 1) label = `${label} (${plain(person.company) || person.id})`
    if (taken.has(label)) label = `${plain(person.name)} (${person.id})`
    taken.add(label)
    result.set(person.id, label)
  }
  return result
}

const isWord = (character: string | undefined): boolean => character !== undefined && /[\p{L}\p{N}_]/u.test(character)

/** Turns a field's text into what is sent: each "@Label" that was picked becomes a token. */
export function toBody(text: string, mentioned: Mentioned): Converted {
  // The longest first: "@Ann Able" isn't "@Ann" with a name behind it.
  const names = [...mentioned.keys()].sort((a, b) => b.length - a.length)
  const mentions = new Set<number>()
  let body = ''
  for (let at = 0; at < text.length;) {
    const name =
      text[at] === '@' && !isWord(text[at - 1])
        ? names.find((candidate) => text.startsWith(candidate, at + 1) && !isWord(text[at + 1 + candidate.length]))
        : undefined
    const id = name === undefined ? undefined : mentioned.get(name)
    if (name === undefined || id === undefined) {
      body += text.charAt(at)
      at++
      continue
    }
    body += `@[${name}](person:${id})`
    mentions.add(id)
    at += 1 + name.length
  }
  for (const match of body.matchAll(token)) mentions.add(Number(match[2]))
  return { body, mentions: [...mentions] }
}

/** Turns what was sent into a field's text, and says who is meant by it. */
export function toText(body: string): { text: string; mentioned: Mentioned } {
  const mentioned: Mentioned = new Map()
  const text = body.replace(token, (whole, name: string, id: string) => {
    // One label can only mean one person: a second one stays as it was written.
    const known = mentioned.get(name)
    if (known !== undefined && known !== Number(id)) return whole
    mentioned.set(name, Number(id))
    return `@${name}`
  })
  return { text, mentioned }
}

/** Message text as a line without marks, for quotes, announcements and previews. */
export function toLine(body: string, limit: number): string {
  const line = toText(body).text.replace(/\s+/g, ' ').trim()
  return line.length > limit ? `${line.slice(0, limit - 1).trimEnd()}…` : line
}

/** What is being typed behind an @ at the caret: where the @ stands, and the text behind it. */
export function queryAt(text: string, caret: number): { at: number; query: string } | null {
  const start = text.lastIndexOf('@', caret - 1)
  if (start < 0 || isWord(text[start - 1])) return null
  const query = text.slice(start + 1, caret)
  if (query.length > 30 || /[\n@[\]()]/.test(query) || /^\s/.test(query) || query.split(' ').length > 3) return null
  return { at: start, query }
}

/** The people who fit a query: names with a word that begins like it, case and accents aside. */
export function matching(people: readonly Person[], query: string, limit = 8): Person[] {
  const fold = (text: string): string => text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase()
  const wanted = fold(query)
  const starts = (name: string): boolean => name.startsWith(wanted) || name.includes(` ${wanted}`)
  return people.filter((person) => starts(fold(person.name))).slice(0, limit)
}
