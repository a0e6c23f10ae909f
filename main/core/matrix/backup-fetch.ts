import { CoreError } from "../errors.ts";
import type { Http } from "./http.ts";
import { createSessionReader } from "./session-reader.ts";

/** A session as the server keeps it. `data` is the JSON of its `session_data`, still encrypted; empty where it was too large to be held. */
export type Fetched = { roomId: string; sessionId: string; data: string };

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
  const reader = createSessionReader(roomId);
  try {
    for await (const piece of body) {
      const found = reader.take(piece);
      if (found.length > 0) yield found;
    }
  } catch (cause) {
    if (cause instanceof CoreError) throw cause;
    throw badAnswer(cause);
  }
  if (!reader.hasEnded()) throw badAnswer(undefined);
}

const badAnswer = (cause: unknown) =>
  new CoreError("unreachable", {
    cause,
    message: "The server's answer broke off.",
    details: { kind: "bad-answer" },
  });
