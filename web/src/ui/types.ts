import type { Component } from 'vue'
import type { RouteLocationRaw } from 'vue-router'

export type ButtonKind = 'primary' | 'secondary' | 'quiet' | 'danger'

/** A line of a menu. */
export interface MenuItem {
  label: string
  icon?: Component
  /** Where it leads, or what it does. */
  to?: RouteLocationRaw
  onSelect?: () => void
  danger?: boolean
  disabled?: boolean
  /** A line is drawn above it. */
  separated?: boolean
  /** Shows whether it is on, for choices; leave it out for actions. */
  checked?: boolean
}

export interface TabItem<Value extends string = string> {
  value: Value
  label: string
  /** A count beside the label; none where it is 0. */
  count?: number
}

export interface SelectOption<Value extends string | number = string | number> {
  value: Value
  label: string
  disabled?: boolean
}
