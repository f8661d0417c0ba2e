// Who is writing just now.

export interface TypingOptions {
  /** Tells the others that one is writing; its failure doesn't matter. */
  send: () => Promise<unknown>
  now: () => number
  later: (call: () => void, ms: number) => () => void
  /** Called with who is writing whenever that changes, oneself never among them. */
  changed: (people: number[]) => void
  me: number
}

/** Signals are sent at most so often, and hold for so long, in ms. */
const every = 3000
const holds = 5000

export class Typing {
  private sentAt = -Infinity
  private readonly people = new Map<number, () => void>()

  constructor(private readonly options: TypingOptions) {}

  /** One has written something. */
  wrote(): void {
    const now = this.options.now()
    if (now - this.sentAt < every) return
    this.sentAt = now
    this.options.send().catch(() => undefined)
  }

  /** A message was sent: what is written next is told at once. */
  sent(): void {
    this.sentAt = -Infinity
  }

  /** Somebody writes. */
  heard(person: number): void {
    if (person === this.options.me) return
    const known = this.people.get(person)
    known?.()
    this.people.set(
      person,
      this.options.later(() => {
        this.ended(person)
      }, holds),
    )
    if (!known) this.tell()
  }

  /** Somebody's message has come, so that they aren't writing it any more. */
  ended(person: number): void {
    this.people.get(person)?.()
    if (this.people.delete(person)) this.tell()
  }

  stop(): void {
    for (const cancel of this.people.values()) cancel()
    this.people.clear()
  }

  private tell(): void {
    this.options.changed([...this.people.keys()])
  }
}

/** "Ann is typing…", "Ann and Bob are typing…", "Several people are typing…". */
export function typingLine(names: readonly string[]): string {
  const [first, second] = names
  if (first === undefined) return ''
  if (second === undefined) return `${first} is typing…`
  if (names.length === 2) return `${first} and ${second} are typing…`
  return 'Several people are typing…'
}
