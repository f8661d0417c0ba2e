// Projects for specs: whole ones, in which a spec says only what it is about.

import type { Conversation, Me, Member, Milestone, Project, Task } from '@/api/types'

export function aTask(task: Partial<Task> & { id: number }): Task {
  return {
    project_id: 1,
    milestone_id: null,
    title: `Task ${task.id}`,
    description: '',
    rank: task.id * 1024,
    assignee_id: null,
    due_on: null,
    completed_at: null,
    completed_by: null,
    reopened_at: null,
    reopened_by: null,
    conversation_id: null,
    created_at: '2026-03-01T09:00:00Z',
    version: 1,
    ...task,
  }
}

export function aMilestone(milestone: Partial<Milestone> & { id: number }): Milestone {
  return {
    project_id: 1,
    name: `Milestone ${milestone.id}`,
    due_on: null,
    rank: milestone.id * 1024,
    version: 1,
    ...milestone,
  }
}

export function aMember(member: Partial<Member> & { id: number }): Member {
  return {
    name: `Person ${member.id}`,
    company: 'Acme',
    staff: false,
    role: 'customer',
    joined_at: '2026-03-01T09:00:00Z',
    ...member,
  }
}

export function aConversation(conversation: Partial<Conversation> & { id: number }): Conversation {
  return {
    project_id: 1,
    task_id: null,
    subject: 'Questions',
    last_seq: 0,
    last_message_at: null,
    awaiting_since: null,
    version: 1,
    read_seq: 0,
    ...conversation,
  }
}

export function aProject(project: Partial<Project> = {}): Project {
  return {
    id: 1,
    name: 'Onboarding',
    summary: '',
    status: 'active',
    due_on: null,
    created_at: '2026-03-01T09:00:00Z',
    version: 1,
    role: 'lead',
    organisation: 'North',
    progress: { done: 0, total: 0, version: 1 },
    milestones: [],
    tasks: [],
    members: [],
    conversations: [],
    former: [],
    positions: { 'project:1': { epoch: 'e', offset: 0 } },
    ...project,
  }
}

export const ME: Me = {
  id: 7,
  name: 'Mia Berg',
  company: 'North',
  staff: true,
  email: 'mia@north.example',
  admin: false,
  organisation_id: 1,
  time_zone: 'Europe/Berlin',
  locale: 'en',
  has_password: true,
}

/** Random numbers below n that are the same in each run, so that a failure can be looked at. */
export function dice(seed: number): (n: number) => number {
  let state = seed
  return (n) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n)
  }
}

/** An answer of the server whose body is there at once: a real one is read by a stream, at its own pace. */
export function anAnswer(status: number, body?: unknown): Response {
  const answer: Pick<Response, 'ok' | 'status' | 'headers' | 'text'> = {
    ok: status < 300,
    status,
    headers: new Headers(),
    text: () => Promise.resolve(body === undefined ? '' : JSON.stringify(body)),
  }
  return answer as Response
}
