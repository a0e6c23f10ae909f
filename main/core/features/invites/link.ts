import { decodePayload, type CodeFault, type InviteCode } from "./codec.ts";

/** The reverse-DNS prefix of what is Tessera's own in links and event types. */
export const namespace = "chat.tessera";

const longestText = 2048;
const userIdForm = /^@[^\s:\p{Cc}]+:[^\s\p{Cc}]+$/u;
const serverForm = /^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

export type Parsed =
  | { kind: "invite"; userId: string; code: InviteCode }
  | { kind: "user"; userId: string }
  | { kind: "room"; room: string; via: string[] }
  | { kind: "unknown"; reason: "not-a-code" | CodeFault };

const unknown = (reason: "not-a-code" | CodeFault): Parsed => ({ kind: "unknown", reason });

/** `matrix:` rather than matrix.to, whose page's script would read the secret. */
export const inviteLink = (userId: string, payload: string, ns = namespace): string =>
  `matrix:u/${encodeId(userId.slice(1))}?action=chat&${ns}.sj=${payload}`;

/** The characters that a path segment of the scheme may hold stay as they are. Source: appendices, "Matrix URI scheme". */
const encodeId = (id: string): string =>
  encodeURIComponent(id).replaceAll(/%(3A|40|24|26|2B|2C|3B|3D)/g, (encoded) => decodeURIComponent(encoded));

/**
 * What a link, a scanned text or a typed address stands for. Total and pure: neither network nor store is asked, and whatever is
 * not understood says why. `tessera:` stands for `matrix:`, where another client holds that scheme.
 */
export function parseText(input: string, ns = namespace): Parsed {
  const text = input.trim();
  if (text.length > longestText) return unknown("too-long");
  const uri = /^(?:matrix|tessera):(?:\/\/[^/?#]*\/)?([^?#]*)(?:\?([^#]*))?(?:#.*)?$/is.exec(text);
  if (uri !== null) return fromMatrixUri(uri[1] ?? "", uri[2] ?? "", ns);
  const to = /^https?:\/\/(?:www\.)?matrix\.to\/#\/([^?]*)(?:\?(.*))?$/is.exec(text);
  if (to !== null) return fromMatrixTo(to[1] ?? "", to[2] ?? "");
  return identifier(text, []);
}

function fromMatrixUri(path: string, query: string, ns: string): Parsed {
  const [type = "", encoded = ""] = path.split("/");
  const id = decode(encoded);
  if (id === undefined || id === "") return unknown("not-a-code");
  const items = itemsOf(query);
  if (items === undefined) return unknown("corrupt");
  const via = items.filter(([name]) => name === "via").map(([, value]) => value);
  switch (type.toLowerCase()) {
    case "u":
    case "user": {
      const codes = items.filter(([name]) => name === `${ns}.sj`);
      const user = identifier(`@${id}`, []);
      if (codes.length === 0 || user.kind !== "user") return user;
      // a code beside a code, or behind a further path: somebody's trick, not somebody's typing mistake
      if (codes.length > 1 || path.split("/").length > 2) return unknown("corrupt");
      const code = decodePayload(user.userId, codes[0]?.[1] ?? "");
      return typeof code === "string" ? unknown(code) : { kind: "invite", userId: user.userId, code };
    }
    case "r":
    case "room":
      return identifier(`#${id}`, via);
    case "roomid":
      return identifier(`!${id}`, via);
    default:
      return unknown("not-a-code");
  }
}

function fromMatrixTo(path: string, query: string): Parsed {
  const id = decode(path.split("/")[0] ?? "");
  const items = itemsOf(query);
  if (id === undefined || items === undefined) return unknown("corrupt");
  return identifier(
    id,
    items.filter(([name]) => name === "via").map(([, value]) => value),
  );
}

/** Of a user id or an alias. */
export const serverOf = (id: string): string => id.slice(id.indexOf(":") + 1);

function identifier(id: string, via: string[]): Parsed {
  if (Buffer.byteLength(id) > 255 || /[\s\p{Cc}\p{Cf}]/u.test(id)) return unknown("not-a-code");
  const servers = via.filter((server) => server.length <= 255 && serverForm.test(server)).slice(0, 10);
  if (id.startsWith("@"))
    return userIdForm.test(id) && serverForm.test(serverOf(id)) ? { kind: "user", userId: id } : unknown("not-a-code");
  if (id.startsWith("#"))
    return /^#[^:]+:/.test(id) && serverForm.test(serverOf(id))
      ? { kind: "room", room: id, via: servers }
      : unknown("not-a-code");
  // room version 12 has no server part
  return /^![^:]+(?::.+)?$/.test(id) ? { kind: "room", room: id, via: servers } : unknown("not-a-code");
}

function itemsOf(query: string): [string, string][] | undefined {
  const items: [string, string][] = [];
  for (const item of query === "" ? [] : query.split("&")) {
    const at = item.indexOf("=");
    const name = decode(at < 0 ? item : item.slice(0, at));
    const value = decode(at < 0 ? "" : item.slice(at + 1));
    if (name === undefined || value === undefined) return undefined;
    items.push([name, value]);
  }
  return items;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // a percent sign with nothing behind it
  }
}
