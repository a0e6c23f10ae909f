import type { StateChange } from "../../../../preload/contract/timeline.ts";
import { object, text, type Json } from "../../json.ts";

type NameOf = (userId: string) => string | undefined;

/** Which state events a timeline shows; all others are kept and not shown. */
const shownTypes = new Set(["m.room.create", "m.room.encryption", "m.room.member", "m.room.name", "m.room.topic"]);
export const showsState = (event: { type: string; content: Json; unsigned: Json }): boolean => {
  if (!shownTypes.has(event.type)) return false;
  if (event.type !== "m.room.member") return true;
  const before = previous(event.unsigned);
  // a membership event that changes nothing that is shown (an avatar) is no news
  return (
    before?.["membership"] !== event.content["membership"] || before?.["displayname"] !== event.content["displayname"]
  );
};

const previous = (unsigned: Json) => object(unsigned["prev_content"]);

export function stateChange(event: Json, nameOf: NameOf): StateChange {
  const type = text(event["type"]) ?? "";
  const content = object(event["content"]) ?? {};
  switch (type) {
    case "m.room.create":
      return { kind: "created" };
    case "m.room.encryption":
      return { kind: "encrypted" };
    case "m.room.name":
      return { kind: "renamed-room", name: short(content["name"]) };
    case "m.room.topic":
      return { kind: "topic", topic: short(content["topic"]) };
    case "m.room.member":
      return memberChange(event, content, nameOf);
    default:
      return { kind: "other", type };
  }
}

const short = (value: unknown) => (text(value) ?? "").slice(0, 500);

function memberChange(event: Json, content: Json, nameOf: NameOf): StateChange {
  const userId = text(event["state_key"]) ?? "";
  const before = previous(object(event["unsigned"]) ?? {});
  const name = text(content["displayname"]) ?? text(before?.["displayname"]) ?? nameOf(userId) ?? userId;
  const byThemselves = event["sender"] === userId;
  const who = { userId, name: name.slice(0, 255) };
  switch (content["membership"]) {
    case "join": {
      if (before?.["membership"] !== "join") return { kind: "joined", ...who };
      const old = text(before["displayname"])?.slice(0, 255);
      return { kind: "renamed-person", ...who, ...(old === undefined ? {} : { before: old }) };
    }
    case "invite":
      return { kind: "invited", ...who };
    case "knock":
      return { kind: "knocked", ...who };
    case "ban":
      return { kind: "banned", ...who };
    case "leave":
      if (before?.["membership"] === "ban") return { kind: "unbanned", ...who };
      if (!byThemselves) return { kind: "removed", ...who };
      return { kind: before?.["membership"] === "invite" ? "declined" : "left", ...who };
    default:
      return { kind: "other", type: "m.room.member" };
  }
}

/** In English, for scripts; the window words `change` in its own language. */
export function sentenceOf(change: StateChange, sender: string): string {
  switch (change.kind) {
    case "created":
      return `${sender} created this room`;
    case "encrypted":
      return `${sender} turned on encryption`;
    case "renamed-room":
      return `${sender} named the room ${change.name}`;
    case "topic":
      return `${sender} set the topic: ${change.topic}`;
    case "renamed-person":
      return `${change.before ?? change.userId} is now called ${change.name}`;
    case "other":
      return `${sender} changed ${change.type}`;
    case "invited":
    case "removed":
    case "banned":
    case "unbanned":
      return `${sender} ${change.kind} ${change.name}`;
    default:
      return `${change.name} ${change.kind === "knocked" ? "asked to join" : change.kind}`;
  }
}
