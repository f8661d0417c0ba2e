// Says what comes while one listens: each message by itself, or how many there were where they come fast.

import type { Message } from '../api/types'
import { toLine } from './mentions'

const wait = 700 // ms that messages are gathered for
const longest = 160 // characters of one

export function liveAnnouncer(
  say: (text: string) => void,
  name: (id: number | null) => string,
  later: (call: () => void, ms: number) => unknown = setTimeout,
): (message: Message) => void {
  let gathered: Message[] = []
  return (message) => {
    if (message.deleted_at !== null) return
    gathered.push(message)
    if (gathered.length > 1) return
    later(() => {
      const [only] = gathered
      if (gathered.length === 1 && only) {
        const files = only.attachments.map((file) => file.name).join(', ')
        say(`${name(only.author_id)}: ${toLine(only.body, longest) || files}`)
      } else {
        const names = [...new Set(gathered.map((each) => name(each.author_id)))]
        say(`${gathered.length} new messages from ${names.length > 3 ? `${names.length} people` : names.join(', ')}`)
      }
      gathered = []
    }, wait)
  }
}
