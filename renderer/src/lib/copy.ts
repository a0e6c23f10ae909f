/**
 * Puts text on the clipboard after a click. The app denies its page every permission but the camera, the asynchronous
 * clipboard included, so this is the browser's copy command over a field that nobody sees.
 */
export function copyText(text: string): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  field.setAttribute("aria-hidden", "true");
  field.className = "off-screen";
  const focused = document.activeElement;
  // within the dialog that holds the focus, which would take it back from anywhere else
  (focused?.closest("[role=dialog]") ?? document.body).append(field);
  field.select();
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- its successor wants a permission that this page is denied
  const copied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}
