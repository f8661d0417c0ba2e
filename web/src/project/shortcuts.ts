// Keys of the project page, and which key event means which.

export interface Shortcut {
  keys: readonly string[]
  does: string
}

/** What the help shows. */
export const SHORTCUTS: readonly Shortcut[] = [
  { keys: ['j', '↓'], does: 'Next task' },
  { keys: ['k', '↑'], does: 'Previous task' },
  { keys: ['x', 'Space'], does: 'Complete or reopen the task' },
  { keys: ['Enter'], does: 'Open the task' },
  { keys: ['Alt ↑', 'Alt ↓'], does: 'Move the task' },
  { keys: ['n'], does: 'New task' },
  { keys: ['/'], does: 'Search tasks' },
]

export type Command = 'next' | 'previous' | 'first' | 'last' | 'toggle' | 'open' | 'up' | 'down' | 'new' | 'search'

type KeyEvent = Pick<KeyboardEvent, 'key' | 'altKey' | 'ctrlKey' | 'metaKey' | 'shiftKey' | 'defaultPrevented'> & {
  target: EventTarget | null
}

const ANYWHERE: ReadonlyMap<string, Command> = new Map([
  ['j', 'next'],
  ['k', 'previous'],
  ['n', 'new'],
  ['/', 'search'],
])
const IN_LIST: ReadonlyMap<string, Command> = new Map([
  ['ArrowDown', 'next'],
  ['ArrowUp', 'previous'],
  ['Home', 'first'],
  ['End', 'last'],
  ['x', 'toggle'],
  [' ', 'toggle'],
  ['Enter', 'open'],
])

/** The command of a key; inList tells whether the focus is on a task of the list, where more keys mean something. */
export function command(event: KeyEvent, inList: boolean): Command | undefined {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey) return undefined
  if (isTyping(event.target)) return undefined
  if (event.altKey) {
    if (!inList) return undefined
    return event.key === 'ArrowUp' ? 'up' : event.key === 'ArrowDown' ? 'down' : undefined
  }
  // The space bar presses a checkbox by itself.
  if (event.key === ' ' && event.target instanceof HTMLInputElement) return undefined
  return (inList ? IN_LIST.get(event.key) : undefined) ?? ANYWHERE.get(event.key)
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement)
    return true
  return target instanceof HTMLInputElement && !['checkbox', 'radio', 'button'].includes(target.type)
}
