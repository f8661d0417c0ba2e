// What the channel of a project says.

import type { ProjectDelta } from '@/api/types'

/** A delta as it is pushed, or what this page knows by itself: how far one has read a conversation. */
export type Delta = ProjectDelta | { type: 'read'; id: number; seq: number }

const KNOWN: Readonly<Record<ProjectDelta['type'], true>> = {
  task: true,
  'task.deleted': true,
  milestone: true,
  'milestone.deleted': true,
  project: true,
  'project.deleted': true,
  member: true,
  'member.removed': true,
  conversation: true,
  reload: true,
}

/** Reads a push. What isn't a delta is undefined: a newer server may say more than this page knows. */
export function parseDelta(value: unknown): Delta | undefined {
  if (typeof value !== 'object' || value === null || !('type' in value)) return undefined
  return typeof value.type === 'string' && value.type in KNOWN ? (value as ProjectDelta) : undefined
}
