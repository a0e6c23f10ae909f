/** Puts changed items into a conversation's items. Pure; neither input is altered. */
import type { Item } from "../../../../preload/contract/timeline.ts";

/**
 * Items stand by their `order`: a changed one is replaced where it stands, or moves where its new order says; a gap that was
 * filled late takes its place between others. `hasOlder`: unknown items from before the oldest one here are left to
 * `timeline.load`, since what lies between would be missing.
 */
export function upsert(
  items: readonly Item[],
  changed: readonly Item[],
  removed: readonly string[],
  hasOlder: boolean,
): Item[] {
  const oldest = items[0]?.order;
  const next = items.slice();
  const places = new Map<string, number>();
  items.forEach((item, place) => places.set(item.itemId, place));
  const gone = new Set(removed);
  const moving: Item[] = [];
  for (const item of changed) {
    const place = places.get(item.itemId);
    if (place === undefined) {
      if (!hasOlder || oldest === undefined || item.order >= oldest) moving.push(item);
    } else if (next[place]?.order === item.order) next[place] = item;
    else {
      gone.add(item.itemId);
      moving.push(item);
    }
  }
  const standing = gone.size === 0 ? next : next.filter((item) => !gone.has(item.itemId));
  for (const item of moving) {
    let place = standing.length;
    while (place > 0 && (standing[place - 1]?.order ?? 0) > item.order) place -= 1;
    standing.splice(place, 0, item);
  }
  return standing;
}
