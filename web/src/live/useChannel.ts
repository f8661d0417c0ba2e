import {
  onScopeDispose,
  readonly,
  ref,
  shallowRef,
  toValue,
  watch,
  type MaybeRefOrGetter,
  type Ref,
  type ShallowRef,
} from 'vue'

import type { Position } from '../api/types'
import { channels } from './connection'

/** Somebody who has the page open, in however many windows. */
export interface Present {
  /** The person's id. */
  id: number
  name: string
}

export type Tags = Record<string, string>

export interface ChannelOptions<Delta, Signal = never> {
  /**
   * Where to follow from: of the snapshot that the page shows, so that nothing falls between. Each new object (a snapshot loaded
   * again) follows anew. `null` waits, until there is a snapshot. `undefined` is for conflated channels: from the newest on.
   */
  position?: MaybeRefOrGetter<Position | null | undefined>
  /** Messages, in order, each once. */
  onDelta: (delta: Delta, tags: Tags) => void
  /** Signals, which are stored nowhere. */
  onSignal?: (signal: Signal, tags: Tags) => void
  /** What was missed can't be had: load the snapshot again. Then its position follows anew. */
  onReload?: () => void
  /** The person may not follow the channel, or not any more. */
  onGone?: () => void
  /** Keeps `present` up to date. */
  presence?: boolean
}

/** `waiting` for a channel or a position, `lost` until there is a new position, `gone` for good, `refused` for another reason. */
export type ChannelState = 'waiting' | 'subscribing' | 'subscribed' | 'lost' | 'gone' | 'refused'

export interface ChannelHandle {
  state: Readonly<Ref<ChannelState>>
  /** Who is there, by name. */
  present: Readonly<ShallowRef<readonly Present[]>>
}

const notAllowed = 103
const unsubscribedByServer = 2000

/** Follows a channel while the component lives; `null` follows none. */
export function useChannel<Delta, Signal = never>(
  channel: MaybeRefOrGetter<string | null>,
  options: ChannelOptions<Delta, Signal>,
): ChannelHandle {
  const state = ref<ChannelState>('waiting')
  const present = shallowRef<readonly Present[]>([])
  let stop: (() => void) | undefined

  watch(
    [() => toValue(channel), () => toValue(options.position)] as const,
    ([name, position], before) => {
      stop?.()
      stop = undefined
      if (before[0] !== name) present.value = []
      if (name === null || position === null) {
        state.value = 'waiting'
        return
      }
      state.value = 'subscribing'
      stop = channels.follow(name, {
        position,
        presence: options.presence ?? false,
        publication: ({ data, tags = {} }) => {
          if (tags.signal) options.onSignal?.(data as Signal, tags)
          else options.onDelta(data as Delta, tags)
        },
        subscribing: () => {
          state.value = 'subscribing'
        },
        subscribed: () => {
          state.value = 'subscribed'
        },
        lost: () => {
          state.value = 'lost'
          options.onReload?.()
        },
        refused: (code) => {
          present.value = []
          const gone = code === notAllowed || code === unsubscribedByServer
          state.value = gone ? 'gone' : 'refused'
          if (gone) options.onGone?.()
        },
        present: (clients) => {
          present.value = people(clients)
        },
      })
    },
    { immediate: true, flush: 'sync' },
  )
  onScopeDispose(() => stop?.())

  return { state: readonly(state), present }
}

/** One for each person, however many windows they have open. */
function people(clients: readonly { user: string; connInfo?: unknown }[]): Present[] {
  const byID = new Map<number, Present>()
  for (const { user, connInfo } of clients) {
    const id = Number(user)
    if (Number.isSafeInteger(id) && id > 0) byID.set(id, { id, name: nameOf(connInfo) })
  }
  return [...byID.values()].sort((a, b) => a.name.localeCompare(b.name))
}

function nameOf(info: unknown): string {
  if (typeof info === 'object' && info !== null && 'name' in info && typeof info.name === 'string') return info.name
  return ''
}
