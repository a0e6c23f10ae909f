/** The code that makes message bodies safe and links findable, loaded after the first paint; until then bodies are plain text. */
type Rich = {
  sanitise: (html: string) => DocumentFragment | undefined;
  pieces: (text: string) => { text: string; href?: string }[];
};

let loaded = $state.raw<Rich | undefined>();
let wanted = false;

export const rich = (): Rich | undefined => loaded;

export async function loadRich(): Promise<void> {
  if (wanted) return;
  wanted = true;
  const [{ sanitise }, { pieces }] = await Promise.all([import("./sanitise.ts"), import("./linkify.ts")]);
  loaded = { sanitise, pieces };
}
