import type { InjectionKey, ShallowRef } from 'vue'

/** The element that scrolls the list of tasks, with the head of the project above it. */
export const scrollerKey: InjectionKey<Readonly<ShallowRef<HTMLElement | null>>> = Symbol('scroller')
