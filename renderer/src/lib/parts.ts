/** The parts of the window that one key walks through, in the order in which they stand. */
import { tick } from "svelte";

const parts = (): HTMLElement[] =>
  [...document.querySelectorAll<HTMLElement>("[data-part]")].filter((part) => part.checkVisibility());
/** Within a part, what takes the focus: the part itself where it names nothing. */
const enter = (part: HTMLElement | undefined): void => {
  (part?.querySelector<HTMLElement>("[data-entry]") ?? part)?.focus();
};

export function enterNextPart(backwards: boolean): void {
  const all = parts();
  const here = all.findIndex((part) => part.contains(document.activeElement));
  const next = backwards ? (here === -1 ? all.length : here) - 1 : here + 1;
  enter(all.at(next % all.length));
}

/** After something was closed: where the focus went with it, the first of these parts that is there takes it. */
export async function keepFocus(...names: string[]): Promise<void> {
  await tick();
  if (document.activeElement !== null && document.activeElement !== document.body) return;
  enter(names.flatMap((name) => parts().find((part) => part.dataset["part"] === name) ?? [])[0]);
}
