// Longer than most: all that is internal to the crypto backend stands in this one file, so that a drift upstream is mended in one place.
import {
  DecryptionErrorCode,
  DecryptionSettings,
  EncryptionAlgorithm,
  EncryptionSettings,
  HistoryVisibility as RustHistoryVisibility,
  MegolmDecryptionError,
  RoomId,
  ShieldColor,
  ShieldStateCode,
  TrustRequirement,
  UserId,
  type EncryptionInfo,
  type OlmMachine,
  type RoomKeyInfo,
  type RoomKeyWithheldInfo,
  type ToDeviceRequest,
} from "@matrix-org/matrix-sdk-crypto-wasm";
import type { UndecryptableReason } from "../../../preload/contract/timeline.ts";
import { CoreError, toFailure } from "../errors.ts";
import { createTurns } from "../in-turn.ts";
import { integer, isObject, object, text, type Json } from "../json.ts";
import { log } from "../log.ts";
import type { Http } from "./http.ts";
import { publicKeyIn } from "./identity-keys.ts";

/** The members of matrix-js-sdk's crypto backend that we call. Internal to the SDK: tests/core/crypto-contract.test.ts fails when one drifts. */
export type Backend = {
  olmMachine: OlmMachine;
  processSyncChanges: (changes: {
    toDeviceEvents: unknown[];
    deviceLists: { changed: string[]; left: string[] };
    oneTimeKeysCounts: Record<string, number>;
    unusedFallbackKeys: string[] | undefined;
    useMsc4186: boolean;
  }) => Promise<unknown[]>;
  onRoomKeysUpdated: (keys: RoomKeyInfo[]) => Promise<void>;
  onRoomKeysWithheld: (withheld: RoomKeyWithheldInfo[]) => Promise<void>;
  onUserIdentityUpdated: (userId: UserId) => Promise<void>;
  onDevicesUpdated: (userIds: string[]) => Promise<void>;
  outgoingRequestsManager: {
    doProcessOutgoingRequests: () => Promise<void>;
    outgoingRequestProcessor: { makeOutgoingRequest: (request: unknown) => Promise<void> };
  };
  keyClaimManager: { ensureSessionsForUsers: (logger: unknown, users: UserId[]) => Promise<void> };
};

export type KeyReport = {
  toDevice: unknown[];
  changed: string[];
  left: string[];
  /** Left out where they are told apart from the rest: then Rust crypto makes no keys. */
  counts?: Record<string, number>;
  unusedFallbackKeys: string[] | undefined;
};

export type HistoryVisibility = "invited" | "joined" | "shared" | "world_readable";
export type RoomEncryption = { algorithm: string; rotationPeriodMs?: number; rotationPeriodMessages?: number };
/** `identity`: the sender's master key at that moment, where the reason is about it. */
export type Trust = { device?: string; shield: "none" | "grey" | "red"; reason?: string; identity?: string };
export type Decrypted =
  | { ok: true; type: string; content: Json; relatesTo: Json | undefined; trust: Trust }
  | { ok: false; reason: UndecryptableReason };
export type RoomKey = { roomId: string; sessionId: string };
/** A to-device event of a sync, decrypted where it was encrypted. Without `olm` it came in clear, or could not be read. */
export type ToDevice = {
  type: string;
  sender: string;
  content: Json;
  olm?: { sender: string; device?: string; curve25519: string; senderVerified: boolean };
};

/** What `encrypt` asks of whoever knows the policy; throws where nothing may be sent. */
export type Sharing = {
  /** Members' devices are known now, nothing has been sent. */
  check: (members: string[]) => Promise<void>;
  /** In turn with all else that moves a ratchet. */
  share: (settings: EncryptionSettings, room: { roomId: string; members: string[] }) => Promise<ToDeviceRequest[]>;
  /** Everything that was shared was taken by the server. */
  shared: () => void;
};

export const megolm = "m.megolm.v1.aes-sha2";
export type Crypto = ReturnType<typeof createCrypto>;

/** What is written while the work runs is in the store as a whole after a kill, or not at all. */
export type AsOne = <T>(work: () => Promise<T>) => Promise<T>;

/** Everything that core asks of Rust crypto. `http` tells which of its requests failed: the backend itself swallows that. */
export function createCrypto(backend: Backend, http: Http, quiet: unknown, asOne: AsOne) {
  assertShape(backend);
  const machine = backend.olmMachine;
  const me = machine.userId.toString();
  // each time that users' devices may have changed, and up to which of these times the queries were answered
  let queriesWanted = 1;
  let queriesAnswered = 0;
  /**
   * Rust crypto reads an Olm session from the store, moves its ratchet and writes it back, with other calls in between: two that
   * share keys with one device at once would use one message key twice, and the device could read but one of them.
   */
  const inTurn = createTurns();
  const keys = listeners<RoomKey[]>();
  const toDevice = listeners<ToDevice[]>();
  const identities = listeners<string[]>();
  const devices = listeners<string[]>();

  // In the place of the SDK's own, which logs each key and looks for events that it was asked to decrypt: it is never asked. What it
  // reads for that log stays in Rust's memory, which never shrinks, until V8 gets round to it: an import makes millions of them.
  backend.onRoomKeysUpdated = async (updated) => {
    const plain = updated.map(takeName);
    // never while Rust's own call of this is on the stack: who hears it decrypts
    await Promise.resolve();
    keys.tell(plain);
  };

  // a message may come before its sender says that the key is withheld: its row then learns the reason
  const innerWithheld = backend.onRoomKeysWithheld.bind(backend);
  backend.onRoomKeysWithheld = async (withheld) => {
    const plain = withheld.map((key) => ({ roomId: key.roomId.toString(), sessionId: key.sessionId }));
    await innerWithheld(withheld);
    keys.tell(plain);
  };

  const innerIdentity = backend.onUserIdentityUpdated.bind(backend);
  backend.onUserIdentityUpdated = async (userId) => {
    const id = userId.toString();
    await innerIdentity(userId);
    identities.tell([id]);
  };
  const innerDevices = backend.onDevicesUpdated.bind(backend);
  backend.onDevicesUpdated = async (userIds) => {
    await innerDevices(userIds);
    devices.tell(userIds);
  };

  /** True where every key query that was wanted at the call has been answered. */
  const processOutgoing = async (): Promise<boolean> => {
    const asked = queriesWanted;
    const failures: string[] = [];
    const untap = http.tap(({ path, ok }) => {
      if (!ok && path.endsWith("/keys/query")) failures.push(path);
    });
    try {
      await backend.outgoingRequestsManager.doProcessOutgoingRequests();
    } finally {
      untap();
    }
    if (failures.length > 0) return false;
    queriesAnswered = Math.max(queriesAnswered, asked);
    return true;
  };

  /**
   * Begins the sessions that Rust crypto wants for itself: with devices whose messages could not be read, so that theirs is replaced,
   * and with own devices that asked for a key. The SDK asks for these only when something is encrypted.
   */
  const mendSessions = async (): Promise<void> => {
    await backend.keyClaimManager.ensureSessionsForUsers(quiet, []);
    await backend.outgoingRequestsManager.doProcessOutgoingRequests();
  };

  // whoever is tracked once stays tracked, but for those whom a sync says to have left
  const tracked = new Set<string>();
  const track = async (userIds: string[]): Promise<void> => {
    if (userIds.every((userId) => tracked.has(userId))) return;
    for (const user of await machine.trackedUsers()) tracked.add(user.toString());
    const fresh = userIds.filter((userId) => !tracked.has(userId) && isUser(userId));
    if (fresh.length === 0) return;
    // before and after: a query that runs meanwhile may or may not have them in it
    queriesWanted++;
    await machine.updateTrackedUsers(usersFrom(fresh));
    queriesWanted++;
    for (const userId of fresh) tracked.add(userId);
  };

  /** Members' devices as the server has them now; false where it could not be asked. */
  const learn = async (members: string[]): Promise<boolean> => {
    await track(members);
    return queriesAnswered >= queriesWanted || (await processOutgoing());
  };
  /** An Olm session with each of their devices that has a key to begin one with. */
  const claim = (members: string[]) =>
    answered("/keys/claim", () => backend.keyClaimManager.ensureSessionsForUsers(quiet, usersFrom(members)));

  /**
   * Shares the room's key with the members' devices where they lack it, and encrypts.
   * Throws `unreachable` where the members' devices could not be learned: a message that some could never read is not sent; and
   * what `sharing` throws, before anything of the message has left.
   */
  const encrypt = async (input: {
    roomId: string;
    members: string[];
    encryption: RoomEncryption;
    historyVisibility: HistoryVisibility;
    sharing: Sharing;
    type: string;
    content: Json;
  }): Promise<Json> => {
    if (input.encryption.algorithm !== megolm)
      throw new CoreError("unsupported", { message: "This room's encryption is not known here." });
    if (!(await learn(input.members)))
      throw new CoreError("unreachable", { message: "The members' devices could not be asked for." });
    await input.sharing.check(input.members);
    await claim(input.members);
    const settings = new EncryptionSettings();
    settings.algorithm = EncryptionAlgorithm.MegolmV1AesSha2;
    settings.historyVisibility = rustVisibility[input.historyVisibility];
    // microseconds, as the binding wants
    if (input.encryption.rotationPeriodMs !== undefined)
      settings.rotationPeriod = BigInt(input.encryption.rotationPeriodMs) * 1000n;
    if (input.encryption.rotationPeriodMessages !== undefined)
      settings.rotationPeriodMessages = BigInt(input.encryption.rotationPeriodMessages);
    const shares = await inTurn(() => input.sharing.share(settings, input));
    for (const share of shares)
      await answered("/sendToDevice/", () =>
        backend.outgoingRequestsManager.outgoingRequestProcessor.makeOutgoingRequest(share),
      );
    const clear = JSON.stringify(input.content);
    const encrypted = JSON.parse(
      await inTurn(() => machine.encryptRoomEvent(new RoomId(input.roomId), input.type, clear)),
    ) as unknown;
    if (!isObject(encrypted) || encrypted["algorithm"] !== megolm || typeof encrypted["ciphertext"] !== "string")
      throw new CoreError("unexpected", { message: "Encryption gave no ciphertext." });
    input.sharing.shared();
    return encrypted;
  };

  /** The backend's own errors say nothing of the network; the tap does. */
  const answered = async (path: string, work: () => Promise<void>): Promise<void> => {
    const refused: string[] = [];
    const untap = http.tap((seen) => {
      if (!seen.ok && seen.path.includes(path)) refused.push(path);
    });
    try {
      await work();
    } catch (cause) {
      throw refused.length > 0 ? new CoreError("unreachable", { cause }) : cause;
    } finally {
      untap();
    }
  };

  const decrypt = async (roomId: string, event: Json): Promise<Decrypted> => {
    try {
      const result = await machine.decryptRoomEvent(
        JSON.stringify(event),
        new RoomId(roomId),
        new DecryptionSettings(TrustRequirement.Untrusted),
      );
      const clear = JSON.parse(result.event) as unknown;
      const type = isObject(clear) ? text(clear["type"]) : undefined;
      const content = isObject(clear) && isObject(clear["content"]) ? clear["content"] : undefined;
      if (type === undefined || content === undefined) return { ok: false, reason: "malformed" };
      // the relation stands in clear on the event itself (client-server API, "Encrypted events and relations")
      const wire = isObject(event["content"]) ? event["content"]["m.relates_to"] : undefined;
      return {
        ok: true,
        type,
        content,
        relatesTo: isObject(wire) ? wire : undefined,
        trust: await trustOf(result),
      };
    } catch (error) {
      if (error instanceof MegolmDecryptionError) return { ok: false, reason: await reasonOf(error, event) };
      // a malformed event makes the binding throw a plain error
      log.debug("an event could not be decrypted for a reason of its own shape");
      return { ok: false, reason: "malformed" };
    }
  };

  /** What is to be thought now of a message that was decrypted before; undefined where that cannot be told. */
  const judge = async (roomId: string, event: Json): Promise<Trust | undefined> => {
    try {
      const info = await machine.getRoomEventEncryptionInfo(JSON.stringify(event), new RoomId(roomId));
      return await trustOf(info);
    } catch {
      return undefined; // its session is gone, or never was one
    }
  };

  const trustOf = async (judged: Pick<EncryptionInfo, "shieldState" | "sender" | "senderDevice">): Promise<Trust> => {
    const device = judged.senderDevice?.toString();
    return {
      ...(device === undefined ? {} : { device }),
      ...(await shieldOf(judged.shieldState(false), judged.sender.toString())),
    };
  };

  /** An unsigned device of somebody who has no identity at all is no broken promise: grey, not red. */
  const shieldOf = async (
    shield: { color: ShieldColor; code: ShieldStateCode | undefined },
    sender: string,
  ): Promise<Omit<Trust, "device">> => {
    if (shield.color === ShieldColor.None || shield.code === undefined) return { shield: "none" };
    const reason = shieldReasons[shield.code];
    if (shield.code === ShieldStateCode.UnsignedDevice) {
      const identity = await machine.getIdentity(new UserId(sender));
      if (identity === undefined) return { shield: "grey", reason: "no-identity" };
    }
    const mark = { shield: shield.color === ShieldColor.Grey ? ("grey" as const) : ("red" as const), reason };
    if (shield.code !== ShieldStateCode.VerificationViolation) return mark;
    const violated = await machine.getIdentity(new UserId(sender));
    const key = violated === undefined ? undefined : publicKeyIn(object(JSON.parse(violated.masterKey)));
    violated?.free();
    return key === undefined ? mark : { ...mark, identity: key };
  };

  /** Whether this device is signed by our identity: who sends to signed devices alone leaves it out otherwise. */
  const isSignedByOwner = async (): Promise<boolean> => {
    const device = await machine.getDevice(new UserId(me), machine.deviceId);
    const signed = device?.isCrossSignedByOwner() === true;
    device?.free();
    return signed;
  };

  const reasonOf = async (error: MegolmDecryptionError, event: Json): Promise<UndecryptableReason> => {
    switch (error.code) {
      case DecryptionErrorCode.MissingRoomKey:
      case DecryptionErrorCode.UnknownMessageIndex: {
        const unsigned = isObject(event["unsigned"]) ? event["unsigned"] : {};
        const membership = text(unsigned["membership"]) ?? text(unsigned["io.element.msc4115.membership"]);
        if (membership !== undefined && membership !== "join" && membership !== "invite") return "not-a-member-then";
        const withheld = error.withheldCode;
        // not withheld but undeliverable: the sender had no session with this device, and may still make one
        if (withheld !== undefined && withheld !== "m.no_olm") {
          if (withheld !== "m.unverified") return "withheld";
          return (await isSignedByOwner()) ? "withheld-unverified" : "withheld-unsigned";
        }
        if (error.code === DecryptionErrorCode.UnknownMessageIndex) return "key-too-late";
        const sentAtMs = integer(event["origin_server_ts"]) ?? Number.MAX_SAFE_INTEGER;
        return sentAtMs <= machine.deviceCreationTimeMs ? "no-backup" : "missing-key";
      }
      case DecryptionErrorCode.SenderIdentityVerificationViolation:
        return "sender-identity-changed";
      case DecryptionErrorCode.UnsignedSenderDevice:
        return "sender-unsigned";
      case DecryptionErrorCode.UnknownSenderDevice:
        return "sender-unknown-device";
      case DecryptionErrorCode.MismatchedIdentityKeys:
      case DecryptionErrorCode.MismatchedSender:
      case DecryptionErrorCode.UnableToDecrypt:
        return "malformed";
      default:
        return "other";
    }
  };

  /**
   * Uploads the device's own keys again where the server has none, as after it deleted the device and took it back at a new
   * sign-in. Rust crypto remembers having uploaded them and would leave the device unreachable. True where it had to.
   */
  const ensureDeviceKeys = async (): Promise<boolean> => {
    const deviceId = machine.deviceId.toString();
    const answer = await http.request("POST", "/_matrix/client/v3/keys/query", {
      body: { device_keys: { [me]: [deviceId] } },
    });
    const devices = object(object(answer)?.["device_keys"]);
    if (devices === undefined || object(devices[me])?.[deviceId] !== undefined) return false;
    // in the order of canonical JSON, since that is what is signed (appendices, "Canonical JSON")
    const keys = {
      algorithms: ["m.olm.v1.curve25519-aes-sha2", megolm],
      device_id: deviceId,
      keys: {
        [`curve25519:${deviceId}`]: machine.identityKeys.curve25519.toBase64(),
        [`ed25519:${deviceId}`]: machine.identityKeys.ed25519.toBase64(),
      },
      user_id: me,
    };
    const signed = object(JSON.parse((await machine.sign(JSON.stringify(keys))).asJSON()));
    const signature = object(signed?.[me])?.[`ed25519:${deviceId}`];
    await http.request("POST", "/_matrix/client/v3/keys/upload", {
      body: { device_keys: { ...keys, signatures: { [me]: { [`ed25519:${deviceId}`]: signature } } } },
    });
    return true;
  };

  return {
    userId: me,
    /** This device's Ed25519 key, unpadded base64. */
    fingerprint: machine.identityKeys.ed25519.toBase64(),
    /** Hands what a sync brought to Rust crypto; throws when it could not be taken, and then nothing of that sync may be saved. */
    receive: async (report: KeyReport, around = <T>(work: () => Promise<T>) => work()): Promise<void> => {
      if (report.changed.length > 0) queriesWanted++;
      const batches = apart(report.toDevice);
      const received: unknown[] = [];
      const take = async (): Promise<void> => {
        for (const [number, toDeviceEvents] of batches.entries()) {
          const isLast = number === batches.length - 1;
          const { changed, left } = number === 0 ? report : { changed: [], left: [] };
          const counts = isLast ? report.counts : undefined;
          const taken = await backend.processSyncChanges({
            toDeviceEvents,
            deviceLists: { changed: changed.filter(isUser), left: left.filter(isUser) },
            oneTimeKeysCounts: counts ?? {},
            unusedFallbackKeys: isLast ? report.unusedFallbackKeys : undefined,
            // with sync v2 a missing count would be read as zero
            useMsc4186: counts === undefined,
          });
          received.push(...taken);
        }
      };
      // Rust crypto saves an Olm session that a message began before the room key that was in it: killed in between, it would meet
      // the message again, used up, and the key would be lost
      await inTurn(() => asOne(() => around(take)));
      for (const userId of report.left) tracked.delete(userId);
      if (report.changed.length > 0) queriesWanted++;
      toDevice.tell(received.flatMap((one) => toDeviceFrom(one) ?? []));
      if (report.toDevice.length > 0)
        void mendSessions().catch((error: unknown) => {
          log.info(`sessions with other devices could not be mended yet: ${toFailure(error).code}`);
        });
    },
    processOutgoing,
    ensureDeviceKeys,
    track,
    learn,
    claim,
    encrypt,
    decrypt,
    judge,
    /** The next message of the room begins a new session. */
    rotate: async (roomId: string): Promise<void> => {
      await machine.invalidateGroupSession(new RoomId(roomId));
    },
    sessionCount: async (): Promise<{ total: number; backedUp: number }> => {
      const counts = await machine.roomKeyCounts();
      return { total: counts.total, backedUp: counts.backedUp };
    },
    /** Keys that came, and keys of which it is now known that they will not. */
    onKeys: keys.add,
    /** What each sync brought, in order, before the sync's token is saved. */
    onToDevice: toDevice.add,
    /** Users whose cross-signing identity is new or changed. */
    onIdentities: identities.add,
    /** Users whose devices are new or changed. */
    onDevices: devices.add,
    /** For the neighbours in matrix/ alone. */
    inner: {
      machine,
      backend,
      http,
      me,
      inTurn,
      /** Sends one of the machine's own requests and tells it the answer. */
      send: (request: unknown) => backend.outgoingRequestsManager.outgoingRequestProcessor.makeOutgoingRequest(request),
    },
  };
}

/**
 * Rust crypto compares a room key with what its store has of the session, and saves those of one call at its end: of two that come for
 * one session the last would stay, though the first begins earlier. So no call gets two messages of one device.
 */
function apart(events: unknown[]): unknown[][] {
  const batches: unknown[][] = [[]];
  let seen = new Set<string>();
  for (const event of events) {
    const content = isObject(event) && isObject(event["content"]) ? event["content"] : {};
    const device = text(content["sender_key"]);
    if (device !== undefined && seen.has(device)) {
      batches.push([]);
      seen = new Set();
    }
    if (device !== undefined) seen.add(device);
    batches.at(-1)?.push(event);
  }
  return batches;
}

/** Its name; the key's description itself is freed. */
function takeName(key: RoomKeyInfo): RoomKey {
  const { roomId, sessionId } = key;
  const name = { roomId: roomId.toString(), sessionId };
  roomId.free();
  key.free();
  return name;
}

function listeners<T>() {
  const all = new Set<(value: T) => void>();
  return {
    add: (listener: (value: T) => void) => {
      all.add(listener);
      return () => {
        all.delete(listener);
      };
    },
    /** One listener's failure is no other's. */
    tell: (value: T) => {
      for (const listener of all)
        try {
          listener(value);
        } catch (error) {
          log.error("a listener to crypto failed", error);
        }
    },
  };
}

function toDeviceFrom(received: unknown): ToDevice | undefined {
  const { message, encryptionInfo } = object(received) ?? {};
  const event = object(message);
  const type = text(event?.["type"]);
  const sender = text(event?.["sender"]);
  const content = object(event?.["content"]);
  if (type === undefined || sender === undefined || content === undefined) return undefined;
  const info = object(encryptionInfo);
  const curve25519 = text(info?.["senderCurve25519KeyBase64"]);
  const device = text(info?.["senderDevice"]);
  if (info === undefined || curve25519 === undefined) return { type, sender, content };
  const olm = { sender: text(info["sender"]) ?? sender, curve25519, senderVerified: info["senderVerified"] === true };
  return { type, sender, content, olm: { ...olm, ...(device === undefined ? {} : { device }) } };
}

/** The binding's user id, which also wants a server's name that could be one; undefined for all else, so that one odd id stalls nothing. */
function userFrom(userId: string): UserId | undefined {
  try {
    return new UserId(userId);
  } catch {
    return undefined; // whoever has such an id has no devices either
  }
}
const usersFrom = (userIds: string[]): UserId[] => userIds.flatMap((userId) => userFrom(userId) ?? []);
/** Whether the binding can name this user at all. */
export const isUser = (userId: string): boolean => userFrom(userId) !== undefined;

const rustVisibility = {
  invited: RustHistoryVisibility.Invited,
  joined: RustHistoryVisibility.Joined,
  shared: RustHistoryVisibility.Shared,
  world_readable: RustHistoryVisibility.WorldReadable,
} as const;

const shieldReasons: Record<ShieldStateCode, string> = {
  [ShieldStateCode.AuthenticityNotGuaranteed]: "authenticity-not-guaranteed",
  [ShieldStateCode.UnknownDevice]: "unknown-device",
  [ShieldStateCode.UnsignedDevice]: "unsigned-device",
  [ShieldStateCode.UnverifiedIdentity]: "unverified-identity",
  [ShieldStateCode.VerificationViolation]: "verification-violation",
  [ShieldStateCode.MismatchedSender]: "mismatched-sender",
};

function assertShape(backend: Backend): void {
  const wanted: [object, string[]][] = [
    [
      backend,
      ["processSyncChanges", "onRoomKeysUpdated", "onRoomKeysWithheld", "onUserIdentityUpdated", "onDevicesUpdated"],
    ],
    [backend.outgoingRequestsManager, ["doProcessOutgoingRequests"]],
    [backend.outgoingRequestsManager.outgoingRequestProcessor, ["makeOutgoingRequest"]],
    [backend.keyClaimManager, ["ensureSessionsForUsers"]],
    [backend.olmMachine, ["receiveSyncChanges", "decryptRoomEvent", "encryptRoomEvent", "shareRoomKey"]],
  ];
  for (const [part, names] of wanted)
    for (const name of names)
      if (typeof Reflect.get(part, name) !== "function")
        throw new CoreError("unexpected", { message: `The crypto backend lacks ${name}.` });
}

/** The place of a Megolm message in its session, read from the wire: version 3, then field 1 (tag 8), a varint. Source: Olm specification, "Megolm message format". */
export function messageIndexOf(ciphertext: string): number | undefined {
  const bytes = Buffer.from(ciphertext.slice(0, 16), "base64");
  if (bytes[0] !== 3 || bytes[1] !== 8) return undefined;
  let index = 0;
  for (let at = 2; at < bytes.length && at < 7; at++) {
    const byte = bytes[at] ?? 0;
    index += (byte & 0x7f) * 2 ** (7 * (at - 2));
    if ((byte & 0x80) === 0) return index;
  }
  return undefined;
}
