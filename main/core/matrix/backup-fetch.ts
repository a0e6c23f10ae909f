import { JSONParser } from "@streamparser/json";
import { CoreError } from "../errors.ts";
import { isObject, text } from "../json.ts";
import type { Http } from "./http.ts";

/** A session as the server keeps it. `data` is the JSON of its `session_data`, still encrypted to the backup's key. */
export type Fetched = { roomId: string; sessionId: string; data: string };

/** No session needs more; a larger value is no session, and is not held in memory whole. */
const largestSession = 1024 * 1024;

/**
 * A room's backed up sessions, or those of all rooms, parsed as they arrive: what is in memory at once is one piece of the answer.
 * Source: client-server API, "GET /_matrix/client/v3/room_keys/keys". Throws `unreachable` with `details.kind` `bad-answer` where the answer ends early.
 */
export async function* fetchSessions(
  http: Http,
  version: string,
  roomId: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<Fetched[]> {
  const path = roomId === undefined ? "" : `/${encodeURIComponent(roomId)}`;
  const body = await http.download(`/_matrix/client/v3/room_keys/keys${path}`, { query: { version }, signal });
  yield* parseSessions(body, roomId);
}

export async function* parseSessions(
  body: AsyncIterable<Uint8Array>,
  roomId: string | undefined,
): AsyncGenerator<Fetched[]> {
  let found: Fetched[] = [];
  let sinceLast = 0;
  const json = { ended: false };
  const parser = new JSONParser({
    paths: [roomId === undefined ? "$.rooms.*.sessions.*" : "$.sessions.*"],
    keepStack: false,
  });
  parser.onEnd = () => {
    json.ended = true;
  };
  parser.onValue = ({ value, key, stack }) => {
    sinceLast = 0;
    const room = roomId ?? text(stack[2]?.key);
    if (room === undefined || typeof key !== "string") return;
    const session = isObject(value) && isObject(value["session_data"]) ? value["session_data"] : {};
    found.push({ roomId: room, sessionId: key, data: JSON.stringify(session) });
  };
  try {
    for await (const piece of body) {
      sinceLast += piece.length;
      parser.write(piece);
      if (sinceLast > largestSession + piece.length) throw new Error("a value is larger than any session");
      if (found.length === 0) continue;
      yield found;
      found = [];
    }
  } catch (cause) {
    if (cause instanceof CoreError) throw cause;
    throw badAnswer(cause);
  }
  if (found.length > 0) yield found;
  if (!json.ended) throw badAnswer(undefined);
}

const badAnswer = (cause: unknown) =>
  new CoreError("unreachable", {
    cause,
    message: "The server's answer broke off.",
    details: { kind: "bad-answer" },
  });
