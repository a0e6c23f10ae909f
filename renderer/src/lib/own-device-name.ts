/** What a device that is made here is called on the account's list. */
export function ownDeviceName(): string {
  const agent = navigator.userAgent;
  const system = /Windows/.test(agent) ? "Windows" : /Mac OS/.test(agent) ? "macOS" : "Linux";
  return `Tessera (${system})`;
}
