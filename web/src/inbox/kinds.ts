// How kinds of notifications look.

import {
  AtSign,
  Bell,
  CircleCheck,
  CircleHelp,
  Flag,
  MailOpen,
  MessageCircle,
  RotateCcw,
  UserRoundCheck,
} from '@lucide/vue'
import type { Component } from 'vue'

export type Tone = 'accent' | 'positive' | 'caution' | 'plain'

const looks: Record<string, { icon: Component; tone: Tone }> = {
  'task.completed': { icon: CircleCheck, tone: 'positive' },
  'task.assigned': { icon: UserRoundCheck, tone: 'accent' },
  'task.reopened': { icon: RotateCcw, tone: 'caution' },
  'question.asked': { icon: CircleHelp, tone: 'caution' },
  'answer.given': { icon: MessageCircle, tone: 'accent' },
  mention: { icon: AtSign, tone: 'accent' },
  invitation: { icon: MailOpen, tone: 'accent' },
  'project.finished': { icon: Flag, tone: 'positive' },
}

export function lookOf(kind: string): { icon: Component; tone: Tone } {
  return looks[kind] ?? { icon: Bell, tone: 'plain' }
}
