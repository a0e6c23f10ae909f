import {
  DeviceId,
  OwnUserIdentity,
  RoomId,
  UserId,
  CollectStrategy,
  type ToDeviceRequest,
} from "@matrix-org/matrix-sdk-crypto-wasm";
import { CoreError } from "../errors.ts";
import { object, text, type Json } from "../json.ts";
import type { Crypto } from "./crypto.ts";
import { onlyAsked } from "./key-query.ts";

/** `not-signed`: this device is not signed by an own identity. `nobody`: none of their devices may have it now. */
export type Shared = "shared" | "nothing-to-share" | "not-signed" | "nobody";
export type Taken = { at: "none" } | { at: "taken" | "unreadable"; bundle: string };
/** Whether a device may have the keys; asked for each that Rust crypto would send them to. */
export type Allows = (userId: string, deviceId: string) => Promise<boolean>;
export type HistorySharing = ReturnType<typeof createHistorySharing>;

/** Some hundred thousand keys. What is larger is no bundle. */
const largestBundleBytes = 128 * 1024 * 1024;
const longestUrlChars = 512;

/**
 * Keys of earlier messages for somebody who was invited, as one encrypted file (MSC4268). The SDK's own way fails the invitation when
 * the sharing fails, and swallows what the network says; here each step is its own and can be taken again.
 */
export function createHistorySharing(crypto: Crypto) {
  const { machine, http, me, inTurn } = crypto.inner;

  /** Devices and identity as the server has them at this moment; Rust crypto does not follow people outside shared rooms. */
  const learn = async (userId: string): Promise<void> => {
    const request = machine.queryKeysForUsers([new UserId(userId)]);
    const body = JSON.parse(request.body) as unknown;
    const answer = await http.request("POST", "/_matrix/client/v3/keys/query", { body });
    await machine.markRequestAsSent(request.id, request.type, onlyAsked(body, JSON.stringify(answer)));
  };

  const isSigned = async (): Promise<boolean> => {
    const identity = await machine.getIdentity(new UserId(me));
    try {
      return identity instanceof OwnUserIdentity && identity.isVerified() && (await identity.trustsOurOwnDevice());
    } finally {
      identity?.free();
    }
  };

  /** Rust crypto picks signed devices and asks nobody whether one of them is blocked: such a one is left out here. */
  const allowed = async (request: ToDeviceRequest, allows: Allows): Promise<Json | undefined> => {
    const messages: Record<string, Json> = {};
    for (const [userId, devices] of Object.entries(object(object(JSON.parse(request.body))?.["messages"]) ?? {}))
      for (const [deviceId, message] of Object.entries(object(devices) ?? {})) {
        const device = await machine.getDevice(new UserId(userId), new DeviceId(deviceId));
        const blocked = device?.isBlacklisted() !== false;
        device?.free();
        if (!blocked && (await allows(userId, deviceId))) (messages[userId] ??= {})[deviceId] = message;
      }
    return Object.keys(messages).length === 0 ? undefined : { messages };
  };

  return {
    /** Throws `CoreError` where the network failed; nothing is lost then, and all of it may be done again. */
    share: async (roomId: string, userId: string, allows: Allows): Promise<Shared> => {
      if (!(await isSigned())) return "not-signed";
      const bundle = await machine.buildRoomKeyBundle(new RoomId(roomId));
      if (bundle === undefined) return "nothing-to-share";
      const { encryptedData: bytes, mediaEncryptionInfo } = bundle;
      bundle.free();
      await learn(userId);
      await crypto.claim([userId]);
      const answer = object(await http.request("POST", "/_matrix/media/v3/upload", { bytes, timeoutMs: 300_000 }));
      const url = text(answer?.["content_uri"]);
      if (url === undefined || placeOf(url) === undefined)
        throw new CoreError("unreachable", {
          message: "The server did not name the file.",
          details: { kind: "bad-answer" },
        });
      const requests = await inTurn(() =>
        machine.shareRoomKeyBundleData(
          new UserId(userId),
          new RoomId(roomId),
          url,
          mediaEncryptionInfo,
          CollectStrategy.identityBasedStrategy(),
        ),
      );
      let sent = false;
      for (const request of requests) {
        const body = await allowed(request, allows);
        if (body === undefined) continue;
        const path = `${encodeURIComponent(request.event_type)}/${encodeURIComponent(request.txn_id)}`;
        await http.request("PUT", `/_matrix/client/v3/sendToDevice/${path}`, { body });
        if (request.event_type === "m.room.encrypted") sent = true;
      }
      return sent ? "shared" : "nobody";
    },

    /** Takes the newest bundle that the inviter's signed devices sent for the room, unless it is the `known` one. Throws `CoreError`. */
    take: async (roomId: string, inviter: string, known: string | null): Promise<Taken> => {
      await learn(inviter);
      const data = await machine.getReceivedRoomKeyBundleData(new RoomId(roomId), new UserId(inviter));
      if (data === undefined || data.url === known) return { at: "none" };
      const bundle = data.url.slice(0, longestUrlChars);
      const place = placeOf(data.url);
      if (place === undefined) return { at: "unreadable", bundle };
      const encrypted = await fetchWhole(place);
      if (encrypted === undefined) return { at: "unreadable", bundle };
      try {
        await machine.receiveRoomKeyBundle(data, encrypted);
      } catch {
        // encrypted under another key, no JSON, for another room: it will be no better the next time
        return { at: "unreadable", bundle };
      }
      return { at: "taken", bundle };
    },
  };

  async function fetchWhole(place: string): Promise<Uint8Array | undefined> {
    const pieces: Uint8Array[] = [];
    let sizeBytes = 0;
    for await (const piece of await http.download(`/_matrix/client/v1/media/download/${place}`)) {
      sizeBytes += piece.length;
      if (sizeBytes > largestBundleBytes) return undefined;
      pieces.push(piece);
    }
    return Buffer.concat(pieces, sizeBytes);
  }
}

/** `server/id` of a content URI. Source: client-server API, "Matrix Content (mxc://) URIs". */
function placeOf(url: string): string | undefined {
  if (url.length > longestUrlChars) return undefined;
  const [, server, id] = /^mxc:\/\/([A-Za-z0-9.:[\]-]+)\/([A-Za-z0-9_-]+)$/.exec(url) ?? [];
  return server === undefined || id === undefined ? undefined : `${encodeURIComponent(server)}/${id}`;
}
