/**
 * Where menus and hints are put: within the page's main part, so that they belong to a landmark. While a dialog is open, all but it
 * is hidden from screen readers: then beside it.
 */
export function overlays(): HTMLElement {
  const place = document.querySelector<HTMLElement>('[role=dialog]') ? null : document.getElementById('overlays')
  return place ?? document.body
}
