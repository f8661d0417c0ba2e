// What somebody may do in a project: what the server decides as well, so that the page offers nothing that it refuses.

import type { Me, Project, Role } from '@/api/types'

export interface Permissions {
  role: Role
  /** Complete and reopen tasks. */
  complete: boolean
  /** Make, edit, move and delete tasks and milestones, assign. */
  edit: boolean
  /** Finish it, and take that back. */
  finish: boolean
  /** Rename, archive and delete it. */
  lead: boolean
  archived: boolean
  /** Invite and remove people. */
  invite: boolean
  /** See who did what. */
  audit: boolean
  /** Why tasks can't be changed, '' where they can. */
  reason: string
}

/** The role of somebody by the members that are known; an admin of the organisation is a lead without being one. */
export function roleOf(project: Pick<Project, 'role' | 'members'>, me: Pick<Me, 'id' | 'admin'>): Role {
  if (me.admin && project.role === 'lead') return 'lead'
  return project.members.find((one) => one.id === me.id)?.role ?? project.role
}

export function permissions(
  project: Pick<Project, 'role' | 'members' | 'status'>,
  me: Pick<Me, 'id' | 'admin'>,
): Permissions {
  const role = roleOf(project, me)
  const active = project.status === 'active'
  const archived = project.status === 'archived'
  const guides = role !== 'customer'
  return {
    role,
    complete: active,
    edit: active && guides,
    finish: guides && !archived,
    lead: role === 'lead',
    archived,
    invite: guides && !archived,
    audit: guides,
    reason: active ? '' : archived ? 'This project is archived.' : 'This project is finished.',
  }
}
