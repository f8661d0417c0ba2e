// What all parts of the chat need to know: of which project it is, who looks at it, and who the others are.

import { computed, inject, type ComputedRef, type InjectionKey } from 'vue'

import type { Me, Message, Person, Project, Attachment } from '../api/types'
import type { Present } from '../live/useChannel'
import { labels } from './mentions'

export interface ChatContext {
  me: ComputedRef<Me>
  project: ComputedRef<Project>
  /** Who has the project open. */
  present: ComputedRef<ReadonlySet<number>>
  /** Whether one is of the staff here. */
  guides: ComputedRef<boolean>
  person: (id: number | null) => Person
  /** The others who can be mentioned, and their labels. */
  members: ComputedRef<Person[]>
  labels: ComputedRef<Map<number, string>>
}

/** What can be done with a message. */
export interface MessageActions {
  reply: (message: Message) => void
  edit: (message: Message) => void
  remove: (message: Message) => void
  history: (message: Message) => void
  copyLink: (message: Message) => void
  show: (attachment: Attachment) => void
  resend: (key: string) => void
  discard: (key: string) => void
}

/** What the parts of an open conversation do for each other. */
export interface ListHandle {
  /** Shows a message, wherever it is, and points it out. */
  jump: (seq: number) => Promise<void>
  toNewest: () => Promise<void>
  /** The message at the top of what one sees. */
  place: () => number | null
}
export interface ComposerHandle {
  focus: () => void
  edit: (message: Message) => void
  quote: (message: Message) => void
}

export const chatKey: InjectionKey<ChatContext> = Symbol('chat')
export const actionsKey: InjectionKey<MessageActions> = Symbol('message actions')

const somebody: Person = { id: 0, name: 'Somebody who left', company: '', staff: false }

export function newContext(props: { project: Project; me: Me; present?: readonly Present[] }): ChatContext {
  const project = computed(() => props.project)
  const me = computed(() => props.me)
  const people = computed(
    () =>
      new Map<number, Person>(
        [...props.project.former, ...props.project.members, props.me].map((each) => [each.id, each]),
      ),
  )
  const members = computed(() => props.project.members.filter((each) => each.id !== props.me.id))
  return {
    me,
    project,
    present: computed(() => new Set((props.present ?? []).map((each) => each.id))),
    guides: computed(() => props.project.role !== 'customer'),
    person: (id) => (id === null ? undefined : people.value.get(id)) ?? somebody,
    members,
    labels: computed(() => labels(members.value)),
  }
}

function need<T>(key: InjectionKey<T>): T {
  const value = inject(key)
  if (value === undefined) throw new Error('a part of the chat is used outside of it')
  return value
}

export const useChat = (): ChatContext => need(chatKey)
export const useActions = (): MessageActions => need(actionsKey)
