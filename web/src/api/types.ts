// The shapes of /api and of what is pushed, as projects/types.go has them. Times are RFC 3339 in UTC.

/** What somebody is in a project. An admin of the organisation is a lead everywhere in it. */
export type Role = 'lead' | 'staff' | 'customer'

export type Status = 'active' | 'finished' | 'archived'

/** A day without a time, as YYYY-MM-DD. */
export type DateString = string

/** A moment, RFC 3339 in UTC. */
export type Time = string

/** A place in a channel to subscribe from. */
export interface Position {
  epoch: string
  offset: number
}

/** By channel. */
export type Positions = Record<string, Position>

export interface Person {
  id: number
  name: string
  /** Of a customer; of staff the organisation's name. */
  company: string
  staff: boolean
}

/** Somebody as they see themselves. */
export interface Me extends Person {
  email: string
  admin: boolean
  organisation_id: number | null
  time_zone: string
  locale: string
  has_password: boolean
}

/** How far a project is. Of two, the one with the higher version is the newer one. */
export interface Progress {
  done: number
  total: number
  version: number
}

/** A project at a glance, for one person. */
export interface Summary {
  id: number
  name: string
  status: Status
  /** The person's. */
  role: Role
  due_on: DateString | null
  progress: Progress
  /** How many conversations hold a customer's question that no staff has answered. */
  waiting: number
  /** Since when. */
  waiting_since: Time | null
  /** How many messages in its conversations the person has not read. */
  unread: number
  /** The first of its outstanding tasks, at most 8. */
  outstanding: Task[]
  /** At most 5. */
  customers: Person[]
  /** At most 5. */
  staff: Person[]
}

export interface Overview {
  /** Active first, then those with the oldest unanswered question, then by name. */
  projects: Summary[]
  /** person:ID. */
  positions: Positions
}

export interface Milestone {
  id: number
  project_id: number
  name: string
  due_on: DateString | null
  rank: number
  version: number
}

export interface Task {
  id: number
  project_id: number
  milestone_id: number | null
  title: string
  description: string
  rank: number
  assignee_id: number | null
  due_on: DateString | null
  completed_at: Time | null
  completed_by: number | null
  reopened_at: Time | null
  reopened_by: number | null
  conversation_id: number | null
  created_at: Time
  version: number
}

export interface Member extends Person {
  role: Role
  joined_at: Time
  /** For staff only, and not in pushes. */
  email?: string
}

/** Of somebody who doesn't take part yet. */
export interface Invitation {
  id: number
  project_id: number
  email: string
  name: string
  role: Role
  invited_by: number | null
  created_at: Time
  expires_at: Time
  mail: 'waiting' | 'sent' | 'failed'
}

/** A thread of messages in a project, about the whole of it or about one task. */
export interface Conversation {
  id: number
  project_id: number
  task_id: number | null
  subject: string
  last_seq: number
  last_message_at: Time | null
  awaiting_since: Time | null
  version: number
  /** How far the person who asks has read. Pushes leave it out. */
  read_seq?: number
}

/** What PATCH /api/projects/{id} answers, and what project:ID pushes. */
export interface ProjectHead {
  id: number
  name: string
  summary: string
  status: Status
  due_on: DateString | null
  version: number
}

/** A project with all that its page shows, at one moment. */
export interface Project extends ProjectHead {
  created_at: Time
  role: Role
  organisation: string
  progress: Progress
  /** By rank and id. */
  milestones: Milestone[]
  /** By rank and id. */
  tasks: Task[]
  /** By name. */
  members: Member[]
  conversations: Conversation[]
  /** People who appear in it and don't take part any more. */
  former: Person[]
  /** project:ID. */
  positions: Positions
}

export interface Message {
  id: number
  conversation_id: number
  seq: number
  author_id: number | null
  /** The author's client key. */
  key: string
  body: string
  /** Sanitised by the server. */
  html: string
  created_at: Time
  edited_at: Time | null
  deleted_at: Time | null
  version: number
  attachments: Attachment[]
}

export interface Attachment {
  id: number
  name: string
  media_type: string
  /** Bytes. */
  size: number
  /** Whether it is one that browsers show. */
  image: boolean
}

/** How far somebody has read a conversation. */
export interface Reader {
  person_id: number
  read_seq: number
  read_at: Time
}

/** A conversation with the page of messages that is shown first: the newest, or those around the first unread one. */
export interface Chat {
  conversation: Conversation
  /** By seq, without gaps. */
  messages: Message[]
  readers: Reader[]
  /** chat:ID. */
  positions: Positions
}

export interface MessagePage {
  /** By seq, without gaps. */
  messages: Message[]
  /** Of the conversation's newest message. */
  last_seq: number
}

/** A message that a search has found. */
export interface Hit {
  message_id: number
  conversation_id: number
  project_id: number
  project_name: string
  subject: string
  seq: number
  author_id: number | null
  author_name: string
  created_at: Time
  /** HTML: escaped text with <mark> around what was found. */
  snippet: string
}

/** A line of the audit trail. */
export interface Entry {
  id: number
  at: Time
  person_id: number | null
  person_name: string
  action: string
  subject: string
  detail: Record<string, unknown>
}

export interface Session {
  id: string
  created_at: Time
  used_at: Time
  user_agent: string
  address: string
  current: boolean
}

/** An invitation for the person who is signed in. */
export interface MyInvitation {
  id: number
  project_id: number
  project_name: string
  inviter: string
  role: Role
  expires_at: Time
}

/** What the link in a mail invites to. */
export interface Invited {
  project_id: number
  project_name: string
  inviter: string
  email: string
  name: string
  role: Role
  has_account: boolean
}

export interface DemoPerson {
  id: number
  name: string
  title: string
  staff: boolean
}

export interface Demo {
  people: DemoPerson[]
  simulate: boolean
  /** What to try. */
  strip: string[]
}

/** What project:ID pushes. */
export type ProjectDelta =
  | { type: 'task'; task: Task }
  | { type: 'task.deleted'; id: number; version: number }
  | { type: 'milestone'; milestone: Milestone }
  | { type: 'milestone.deleted'; id: number }
  | { type: 'project'; project: ProjectHead }
  | { type: 'project.deleted' }
  | { type: 'member'; member: Member }
  | { type: 'member.removed'; id: number }
  | { type: 'conversation'; conversation: Conversation }
  | { type: 'reload' }

/** What chat:ID pushes. */
export type ChatDelta = { type: 'message'; message: Message } | { type: 'read'; reader: Reader }

/** Signals of chat:ID. */
export interface ChatSignal {
  type: 'typing'
  person_id: number
}

/** What person:ID pushes: fetch GET /api/overview?project=N again. */
export interface PersonDelta {
  type: 'summary'
  project_id: number
}
