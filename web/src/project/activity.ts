// Lines of the audit trail as sentences.

import type { Entry } from '@/api/types'

/** What somebody did, to be read behind their name: "completed “Sign the contract”". */
export function sentence({ action, detail }: Pick<Entry, 'action' | 'detail'>): string {
  const quoted = (name: string): string => {
    const value = detail[name]
    return typeof value === 'string' && value !== '' ? `“${value}”` : ''
  }
  const plain = (name: string): string => (typeof detail[name] === 'string' ? detail[name] : '')
  const said = (text: string): string => text.replace(/\s+/g, ' ').trim()
  switch (action) {
    case 'project.created':
      return said(`created the project ${quoted('name')}`)
    case 'project.edited':
      return said(`changed ${changed(detail)} of the project`)
    case 'project.finished':
      return 'finished the project'
    case 'project.activated':
      return plain('was') === 'archived' ? 'took the project out of the archive' : 'went on with the project'
    case 'project.archived':
      return 'archived the project'
    case 'milestone.created':
      return said(`added the milestone ${quoted('name')}`)
    case 'milestone.edited':
      return said(`changed ${changed(detail)} of the milestone ${quoted('name')}`)
    case 'milestone.deleted':
      return said(`deleted the milestone ${quoted('name')}`)
    case 'task.created':
      return said(`added ${quoted('title')}`)
    case 'task.edited':
      return said(`changed ${changed(detail)} of ${quoted('title')}`)
    case 'task.moved':
      return said(`moved ${quoted('title')} between projects`)
    case 'task.completed':
      return said(`completed ${quoted('title')}`)
    case 'task.reopened':
      return said(`reopened ${quoted('title')}`)
    case 'task.deleted':
      return said(`deleted ${quoted('title')}`)
    case 'member.added':
      return said(`added ${plain('name')} ${as(detail.role)}`)
    case 'member.joined':
      return 'accepted the invitation'
    case 'member.role':
      return said(`made ${plain('name')} ${role(detail.to)}`)
    case 'member.removed':
      return said(`removed ${plain('name')}`)
    case 'member.left':
      return 'left the project'
    case 'invitation.created':
      return said(`invited ${plain('email')} ${as(detail.role)}`)
    case 'invitation.resent':
      return said(`sent the invitation to ${plain('email')} again`)
    case 'invitation.revoked':
      return said(`withdrew the invitation of ${plain('email')}`)
    case 'conversation.started':
      return said(`started the conversation ${quoted('subject')}`)
    case 'message.deleted':
      return 'deleted a message'
    default:
      // What a newer server writes is still worth a line.
      return action.replace(/[._]/g, ' ')
  }
}

const FIELDS: Readonly<Record<string, string>> = {
  name: 'the name',
  summary: 'the summary',
  title: 'the title',
  description: 'the description',
  due_on: 'the due date',
  milestone_id: 'the milestone',
  assignee_id: 'the assignee',
  rank: 'the place',
}

function changed({ changed: fields }: Entry['detail']): string {
  if (typeof fields !== 'object' || fields === null) return 'something'
  const names = Object.keys(fields)
  // A task that goes to another milestone stands somewhere else in it: that says nothing more.
  const said = names.filter((name) => name !== 'rank' || names.length === 1).map((name) => FIELDS[name] ?? name)
  const last = said.pop()
  if (last === undefined) return 'something'
  return said.length > 0 ? `${said.join(', ')} and ${last}` : last
}

function role(value: unknown): string {
  return value === 'lead' ? 'a lead' : value === 'staff' ? 'staff' : value === 'customer' ? 'a customer' : ''
}

function as(value: unknown): string {
  const said = role(value)
  return said && `as ${said}`
}
