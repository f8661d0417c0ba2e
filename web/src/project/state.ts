// What the page knows of a project, and how deltas change it. All of it is pure: a state is never changed, a new one is made.

import type { Member, Person, Project, ProjectHead, Task } from '@/api/types'

import type { Delta } from './delta'
import { byRank, merge } from './order'

export interface ProjectState {
  readonly project: Project
  /**
   * The version in which a task was deleted or moved elsewhere, by its id. An older delta, or an answer that was overtaken,
   * doesn't bring it back; a newer one does, for a task may be moved back.
   */
  readonly lost: ReadonlyMap<number, number>
  readonly lostMilestones: ReadonlySet<number>
  /** The project is there no more. */
  readonly deleted: boolean
  /** How many times the server has asked to load everything anew. */
  readonly reloads: number
}

/** What a task's deletion counts as that the server has confirmed: nothing comes after it. */
export const FOR_EVER = Number.MAX_SAFE_INTEGER

/** The state that a snapshot begins. */
export function begin(project: Project): ProjectState {
  return {
    project: { ...project, tasks: [...project.tasks].sort(byRank), milestones: [...project.milestones].sort(byRank) },
    lost: new Map(),
    lostMilestones: new Set(),
    deleted: false,
    reloads: 0,
  }
}

/**
 * Takes a newer snapshot. Of what the state has in a higher version, from answers that overtook the snapshot, it keeps its own:
 * going back and forth again would flicker.
 */
export function renew(state: ProjectState, snapshot: Project): ProjectState {
  const fresh = begin(snapshot)
  const mine = new Map(state.project.tasks.map((task) => [task.id, task]))
  const kept = new Set<number>()
  const put: Task[] = []
  for (const task of fresh.project.tasks) {
    const own = mine.get(task.id)
    if ((state.lost.get(task.id) ?? 0) >= task.version) kept.add(task.id)
    else if (own && own.version > task.version) {
      kept.add(task.id)
      put.push(own)
    }
  }
  return {
    ...fresh,
    project: { ...fresh.project, tasks: merge(fresh.project.tasks, put, kept) },
    lost: state.lost,
    lostMilestones: state.lostMilestones,
    reloads: state.reloads,
  }
}

/** Applies deltas in their order. Each may come twice, and older ones after newer ones. */
export function reduce(state: ProjectState, deltas: readonly Delta[]): ProjectState {
  const next = new Reduction(state)
  for (const delta of deltas) next.take(delta)
  return next.state()
}

// A Reduction gathers the changes of many deltas, so that lists are copied once.
class Reduction {
  private project: Project
  private readonly tasks = new Map<number, Task>()
  private readonly lost = new Map<number, number>()
  private lostMilestones: ReadonlySet<number>
  private deleted: boolean
  private reloads: number
  private versions: Map<number, number> | undefined

  constructor(private readonly before: ProjectState) {
    this.project = before.project
    this.lostMilestones = before.lostMilestones
    this.deleted = before.deleted
    this.reloads = before.reloads
  }

  take(delta: Delta): void {
    switch (delta.type) {
      case 'task':
        this.takeTask(delta.task)
        return
      case 'task.deleted':
        this.lose(delta.id, delta.version)
        return
      case 'milestone': {
        const { milestone } = delta
        const own = this.project.milestones.find((one) => one.id === milestone.id)
        if (this.lostMilestones.has(milestone.id) || (own && own.version >= milestone.version)) return
        this.edit({ milestones: merge(this.project.milestones, [milestone], new Set([milestone.id])) })
        return
      }
      case 'milestone.deleted':
        this.lostMilestones = new Set([...this.lostMilestones, delta.id])
        this.edit({ milestones: this.project.milestones.filter((one) => one.id !== delta.id) })
        return
      case 'project':
        this.takeHead(delta.project)
        return
      case 'project.deleted':
        this.deleted = true
        return
      case 'member':
        this.takeMember(delta.member)
        return
      case 'member.removed':
        this.loseMember(delta.id)
        return
      case 'conversation': {
        const { conversation } = delta
        const own = this.project.conversations.find((one) => one.id === conversation.id)
        if (own && own.version >= conversation.version) return
        const rest = this.project.conversations.filter((one) => one.id !== conversation.id)
        // Pushes go to everybody, so they can't say how far one has read: that stays as it was.
        const read_seq = Math.max(own?.read_seq ?? 0, conversation.read_seq ?? 0)
        this.edit({ conversations: [...rest, { ...conversation, read_seq }].sort((a, b) => a.id - b.id) })
        return
      }
      case 'read':
        this.edit({
          conversations: this.project.conversations.map((one) =>
            one.id === delta.id && (one.read_seq ?? 0) < delta.seq ? { ...one, read_seq: delta.seq } : one,
          ),
        })
        return
      case 'reload':
        this.reloads++
    }
  }

  state(): ProjectState {
    const { before } = this
    let project = this.project
    if (this.tasks.size > 0 || this.lost.size > 0) {
      const out = new Set([...this.tasks.keys(), ...this.lost.keys()])
      project = { ...project, tasks: merge(project.tasks, [...this.tasks.values()], out) }
    }
    return {
      project,
      lost: this.lost.size > 0 ? new Map([...before.lost, ...this.lost]) : before.lost,
      lostMilestones: this.lostMilestones,
      deleted: this.deleted,
      reloads: this.reloads,
    }
  }

  private edit(change: Partial<Project>): void {
    this.project = { ...this.project, ...change }
  }

  private version(id: number): number {
    this.versions ??= new Map(this.before.project.tasks.map((task) => [task.id, task.version]))
    const lost = this.lost.get(id) ?? this.before.lost.get(id) ?? 0
    const had = this.lost.has(id) ? 0 : (this.versions.get(id) ?? 0)
    return Math.max(this.tasks.get(id)?.version ?? 0, had, lost)
  }

  private takeTask(task: Task): void {
    if (task.project_id !== this.project.id || task.version <= this.version(task.id)) return
    this.tasks.set(task.id, task)
  }

  private lose(id: number, version: number): void {
    if (version < this.version(id)) return
    this.tasks.delete(id)
    this.lost.set(id, version)
  }

  private takeHead(head: ProjectHead): void {
    if (head.version <= this.project.version) return
    const { name, summary, status, due_on, version } = head
    this.edit({ name, summary, status, due_on, version })
  }

  private takeMember(member: Member): void {
    const members = this.project.members.filter((one) => one.id !== member.id)
    members.push(member)
    this.edit({
      members: members.sort((a, b) => a.name.localeCompare(b.name) || a.id - b.id),
      former: this.project.former.filter((one) => one.id !== member.id),
    })
  }

  private loseMember(id: number): void {
    const gone = this.project.members.find((one) => one.id === id)
    if (!gone) return
    const person: Person = { id: gone.id, name: gone.name, company: gone.company, staff: gone.staff }
    this.edit({
      members: this.project.members.filter((one) => one.id !== id),
      former: [...this.project.former, person],
    })
  }
}
