/** The window's page lives at app://tessera/. */
export const appScheme = "app";
export const appHost = "tessera";
export const appOrigin = `${appScheme}://${appHost}`;

/** True for our own page's addresses. `origin` of a URL is "null" for schemes that Node does not know. */
export function isOwnAddress(address: string): boolean {
  if (!URL.canParse(address)) return false;
  const { protocol, host, username, password } = new URL(address);
  return protocol === `${appScheme}:` && host === appHost && username === "" && password === "";
}

/** What the page made in its own memory: the address of a blob names the page that made it. */
export const isOwnBlob = (address: string): boolean =>
  address.startsWith("blob:") && isOwnAddress(address.slice("blob:".length));
