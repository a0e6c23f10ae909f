/** Items in words: what a change of the room says, and the one line of a message in lists. */
import type { Item, StateChange } from "../../../preload/contract/timeline.ts";
import { m } from "../paraglide/messages.js";
import { legibleLine, localpart } from "./legible.ts";

/** The name under which a message's sender is shown. */
export const senderOf = (item: Item): string => legibleLine(item.senderName ?? "", 80) || localpart(item.sender);

const personOf = (change: { userId: string; name: string }): string =>
  legibleLine(change.name, 80) || localpart(change.userId);

/** A sentence for a state item. `ownId`: whose window this is, who is called "you". */
export function changeText(item: Item, ownId: string): string {
  const { change } = item;
  if (change === undefined) return legibleLine(item.body);
  const own = item.sender === ownId;
  return own ? ownChange(change, item, ownId) : othersChange(change, item, ownId);
}

function ownChange(change: StateChange, item: Item, ownId: string): string {
  switch (change.kind) {
    case "created":
      return m.change_created_own();
    case "encrypted":
      return m.change_encrypted();
    case "joined":
      return m.change_joined_own();
    case "left":
      return m.change_left_own();
    case "declined":
      return m.change_declined_own();
    case "invited":
      return m.change_invited_own({ name: personOf(change) });
    case "removed":
      return m.change_removed_own({ name: personOf(change) });
    case "banned":
      return m.change_banned_own({ name: personOf(change) });
    case "unbanned":
      return m.change_unbanned_own({ name: personOf(change) });
    case "renamed-room":
      return m.change_renamed_room_own({ name: legibleLine(change.name) });
    case "topic":
      return m.change_topic_own({ topic: legibleLine(change.topic) });
    case "renamed-person":
      return m.change_renamed_person_own({ name: personOf(change) });
    default:
      return othersChange(change, item, ownId);
  }
}

function othersChange(change: StateChange, item: Item, ownId: string): string {
  const by = senderOf(item);
  switch (change.kind) {
    case "created":
      return m.change_created({ by });
    case "encrypted":
      return m.change_encrypted();
    case "joined":
      return m.change_joined({ name: personOf(change) });
    case "left":
      return m.change_left({ name: personOf(change) });
    case "declined":
      return m.change_declined({ name: personOf(change) });
    case "knocked":
      return m.change_knocked({ name: personOf(change) });
    case "invited":
      return change.userId === ownId ? m.change_invited_you({ by }) : m.change_invited({ by, name: personOf(change) });
    case "removed":
      return change.userId === ownId ? m.change_removed_you({ by }) : m.change_removed({ by, name: personOf(change) });
    case "banned":
      return m.change_banned({ by, name: personOf(change) });
    case "unbanned":
      return m.change_unbanned({ by, name: personOf(change) });
    case "renamed-person":
      return change.before === undefined
        ? m.change_named({ name: personOf(change) })
        : m.change_renamed_person({ before: legibleLine(change.before, 80), name: personOf(change) });
    case "renamed-room":
      return m.change_renamed_room({ by, name: legibleLine(change.name) });
    case "topic":
      return m.change_topic({ by, topic: legibleLine(change.topic) });
    case "other":
      return m.change_other({ by });
  }
}

/** What an item says without its sender. */
export function bodyLine(item: Item): string {
  switch (item.kind) {
    case "redacted":
      return m.message_deleted();
    case "undecryptable":
      return m.summary_undecryptable();
    case "image":
      return m.summary_image();
    case "file":
      return m.summary_file({ name: legibleLine(item.file?.name ?? item.body, 80) });
    default:
      // The plain text of a formatted message carries the marks of its Markdown, which one line of a list has no use for.
      return legibleLine(item.html === undefined ? item.body : item.body.replace(/\*\*|__|~~|`/g, ""));
  }
}

/** The second line of a room in lists: "You: landed", "Jo: bring boots". */
export function summaryLine(item: Item, ownId: string, kind: "dm" | "group" | "space"): string {
  if (item.kind === "state") return changeText(item, ownId);
  if (item.kind === "emote") return `${item.sender === ownId ? m.you() : senderOf(item)} ${bodyLine(item)}`;
  if (item.sender === ownId) return m.summary_own({ text: bodyLine(item) });
  return kind === "dm"
    ? bodyLine(item)
    : m.summary_other({ name: senderOf(item).split(" ", 1)[0] ?? "", text: bodyLine(item) });
}
