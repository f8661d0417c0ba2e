import { createRouter, createWebHistory, type RouteLocationNormalized, type Router } from 'vue-router'

import { load, useSession } from './session'

declare module 'vue-router' {
  interface RouteMeta {
    /** For those who aren't signed in as well. */
    open?: boolean
    /** The page is as high as the window, and scrolls in itself. */
    fill?: boolean
    /** What the window is called until the page says more. */
    title?: string
  }
}

/** The number in a path, or 0, which is nobody's. */
function id(value: string | string[] | undefined): number {
  const number = Number(value)
  return Number.isSafeInteger(number) && number > 0 ? number : 0
}

const project = ({ params }: RouteLocationNormalized): { id: number } => ({ id: id(params.id) })

export function newRouter(): Router {
  const router = createRouter({
    history: createWebHistory(),
    routes: [
      { path: '/', name: 'overview', component: () => import('./pages/Overview.vue'), meta: { title: 'Overview' } },
      {
        path: '/sign-in',
        name: 'sign-in',
        component: () => import('./pages/SignIn.vue'),
        meta: { open: true, title: 'Sign in' },
      },
      {
        path: '/reset/:token?',
        name: 'reset',
        component: () => import('./pages/Reset.vue'),
        props: true,
        meta: { open: true, title: 'New password' },
      },
      {
        path: '/invited/:token',
        name: 'invited',
        component: () => import('./pages/Invited.vue'),
        props: true,
        meta: { open: true, title: 'Invitation' },
      },
      {
        path: '/invitations',
        name: 'invitations',
        component: () => import('./pages/Invitations.vue'),
        meta: { title: 'Invitations' },
      },
      {
        path: '/projects/:id(\\d+)',
        name: 'project',
        component: () => import('./pages/Project.vue'),
        props: project,
        meta: { title: 'Project', fill: true },
      },
      {
        path: '/projects/:id(\\d+)/chat/:conversation(\\d+)?',
        name: 'chat',
        component: () => import('./pages/Project.vue'),
        props: (to) => ({ id: id(to.params.id), chat: true, conversation: id(to.params.conversation) || null }),
        meta: { title: 'Chat', fill: true },
      },
      {
        path: '/projects/:id(\\d+)/people',
        name: 'people',
        component: () => import('./pages/People.vue'),
        props: project,
        meta: { title: 'People' },
      },
      { path: '/inbox', name: 'inbox', component: () => import('./pages/Inbox.vue'), meta: { title: 'Notifications' } },
      {
        path: '/preferences',
        name: 'preferences',
        component: () => import('./pages/Preferences.vue'),
        meta: { title: 'Preferences' },
      },
      { path: '/account', name: 'account', component: () => import('./pages/Account.vue'), meta: { title: 'Account' } },
      { path: '/search', name: 'search', component: () => import('./pages/Search.vue'), meta: { title: 'Search' } },
      {
        path: '/:path(.*)*',
        name: 'not-found',
        component: () => import('./pages/NotFound.vue'),
        meta: { open: true, title: 'Not found' },
      },
    ],
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- what replaces it is experimental yet
    scrollBehavior: (to, from, saved) => {
      if (saved) return saved
      return to.path === from.path ? false : { top: 0 }
    },
  })

  const { state } = useSession()
  router.beforeEach(async (to) => {
    if (state.value === 'unknown') await load()
    if (to.name === 'sign-in' && state.value === 'in') return returnPath(to.query.to)
    if (to.meta.open || state.value === 'in' || state.value === 'failed') return true
    return { name: 'sign-in', query: to.fullPath === '/' ? {} : { to: to.fullPath } }
  })
  return router
}

/** Where to go after sign-in: a path of this page, whatever the link says. */
export function returnPath(to: unknown): string {
  if (typeof to !== 'string' || !to.startsWith('/')) return '/'
  if (!URL.canParse(to, location.origin)) return '/'
  const url = new URL(to, location.origin)
  // One that begins with two slashes would be taken for another site's by whoever reads it again, as /.//other.example becomes.
  if (url.origin !== location.origin || url.pathname === '/sign-in' || url.pathname.startsWith('//')) return '/'
  return url.pathname + url.search + url.hash
}
