/** Items as rows of the timeline: who begins a run, where a day begins, where what is unread begins. Pure. */
import type { Item } from "../../../../preload/contract/timeline.ts";
import { daysBetween } from "../../lib/time.ts";

export type Row = {
  item: Item;
  /** The day to be named above. */
  dayMs?: number;
  unreadAbove: boolean;
  /** Opens or closes a run of one sender. */
  first: boolean;
  last: boolean;
};

export const runMs = 5 * 60_000;

const stands = (item: Item): boolean => item.kind === "state";

function sameRun(a: Item | undefined, b: Item | undefined): boolean {
  if (a === undefined || b === undefined || stands(a) || stands(b)) return false;
  if (a.sender !== b.sender || Math.abs(b.sentAtMs - a.sentAtMs) > runMs) return false;
  return (
    a.state !== "failed" && (b.state !== "failed" || a.state === "sent") && daysBetween(a.sentAtMs, b.sentAtMs) === 0
  );
}

/** `known`: the rows of the time before; those that say the same keep their object. */
export function buildRows(
  items: readonly Item[],
  unreadFrom: string | undefined,
  known: ReadonlyMap<string, Row>,
): Row[] {
  return items.map((item, index) => {
    const before = items[index - 1];
    const newDay = before === undefined || daysBetween(before.sentAtMs, item.sentAtMs) !== 0;
    const unreadAbove = item.itemId === unreadFrom;
    const first = newDay || unreadAbove || !sameRun(before, item);
    const after = items[index + 1];
    const last = !sameRun(item, after) || after?.itemId === unreadFrom;
    const old = known.get(item.itemId);
    if (
      old?.item === item &&
      old.first === first &&
      old.last === last &&
      old.unreadAbove === unreadAbove &&
      (old.dayMs !== undefined) === newDay
    )
      return old;
    return { item, ...(newDay ? { dayMs: item.sentAtMs } : {}), unreadAbove, first, last };
  });
}

/** The item above which the unread line goes, with `count` unread messages of others. */
export function firstUnread(items: readonly Item[], ownId: string, count: number): string | undefined {
  let left = count;
  let found: string | undefined;
  for (let index = items.length - 1; index >= 0 && left > 0; index -= 1) {
    const item = items[index];
    if (item === undefined || item.sender === ownId || item.kind === "state" || item.kind === "redacted") continue;
    found = item.itemId;
    left -= 1;
  }
  return found;
}
