/**
 * A core in memory behind the shape of `window.core`, for the window's tests and for working on the window alone. It answers the
 * whole contract; a scenario says in which state it begins, and `window.fake` lets a test make things happen.
 */
import type { AccountStatus, LoginFlow, Rescued, SyncState } from "../../preload/contract/account.ts";
import type { Preferences } from "../../preload/contract/app.ts";
import type { Answer, Failure, FailureCode } from "../../preload/contract/define.ts";
import type { CommandName, EventName, Events, Handlers } from "../../preload/contract/index.ts";
import type { Room } from "../../preload/contract/rooms.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import type { VaultStatus } from "../../preload/contract/vault.ts";
import type { Flow } from "../../preload/contract/verification.ts";
import { fakeBackup, type BackupScenario, type FakeBackup } from "./bridge-backup.ts";
import { fakeInvites, type FakeInvites, type InvitesScenario } from "./bridge-invites.ts";
import { fakeTrust, type FakeTrust, type TrustScenario } from "./bridge-trust.ts";
import { fakeVerification, type FakeVerification } from "./bridge-verification.ts";
import { fakeRooms, own, type FakeRoom } from "./bridge-rooms.ts";

export type Scenario = {
  account?: "signed-in" | "signed-out";
  sync?: SyncState["at"] | "signed-out-softly";
  vault?: Partial<VaultStatus>;
  rooms?: "some" | "none" | "many" | "hostile";
  flows?: LoginFlow[];
  registration?: boolean;
  preferences?: Partial<Preferences>;
  lastOpened?: string;
  atRisk?: boolean;
  /** What could be saved of an account whose files are damaged (`sync` is `stopped`). */
  rescued?: Rescued;
  /** Verifications that have begun. */
  verifications?: Flow[];
  /** Identity, devices, keys and whom to trust. */
  trust?: TrustScenario;
  /** Backup, restore, files of keys. */
  backup?: BackupScenario;
  /** Codes, joins with those of others, and links that were opened. */
  invites?: InvitesScenario;
  /** Every answer waits this long. */
  latencyMs?: number;
  /** Commands that fail, and how. */
  failing?: Partial<Record<CommandName, FailureCode>>;
};

export type Fake = {
  calls: { name: string; input: unknown }[];
  failing: Partial<Record<CommandName, FailureCode>>;
  /** Answers to these wait until they are taken out again. */
  held: Set<CommandName>;
  /** How the next messages end: sent, or failed with this code. */
  sends: "ok" | "hang" | FailureCode;
  emit<E extends EventName>(event: E, payload: Events[E]): void;
  setSync(at: NonNullable<Scenario["sync"]>): void;
  setVault(status: Partial<VaultStatus>): void;
  receive(roomId: string, body: string, more?: Partial<Item>): Item;
  /** Somebody removes the account from a room. */
  removed(roomId: string): void;
  verification: FakeVerification;
  trust: FakeTrust;
  backup: FakeBackup;
  invites: FakeInvites;
  /** A direct chat with them comes, as after a join. */
  meet(userId: string): string;
  items(roomId: string): Item[];
  room(roomId: string): Room | undefined;
};

/** The shape of `window.core`. */
export type FakeCore = {
  call(name: string, input: unknown): Promise<Answer<unknown>>;
  on(event: string, listener: (payload: unknown) => void): () => void;
};

class FakeError extends Error {
  readonly failure: Failure;
  constructor(code: FailureCode, details?: unknown) {
    super(code);
    const retryable = ["unreachable", "timeout", "rate-limited", "unexpected", "disk-full"].includes(code);
    this.failure = { code, message: code, retryable, ...(details === undefined ? {} : { details }) };
  }
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const never = (): never => {
  throw new FakeError("unsupported");
};

export function fakeCore(scenario: Scenario): { core: FakeCore; fake: Fake } {
  const listeners = new Map<string, Set<(payload: unknown) => void>>();
  const rooms = new Map<string, FakeRoom>(fakeRooms(scenario.rooms ?? "some").map((one) => [one.room.roomId, one]));
  const drafts = new Map<string, string>();
  const ignored = new Set<string>();
  let lastOpened = scenario.lastOpened;
  let vault: VaultStatus = {
    at: "ready",
    keychain: { backend: "GNOME Keyring", ok: true },
    passphrase: false,
    ...scenario.vault,
  };
  let passphrase = vault.passphrase ? "correct horse" : undefined;
  let preferences: Preferences = {
    theme: "system",
    language: "system",
    roomsWidthPx: 312,
    remindedMs: 0,
    camera: "",
    lockAfterMinutes: 0,
    ...scenario.preferences,
  };
  let count = 0;

  const syncOf = (at: NonNullable<Scenario["sync"]>): SyncState => {
    const now = Date.now();
    if (at === "signed-out-softly") return { at: "stopped", code: "not-signed-in" };
    if (at === "offline") return { at, sinceMs: now - 60_000, nextTryMs: now + 8000, code: "unreachable" };
    if (at === "stopped") return { at, code: "database-corrupt" };
    return at === "starting" ? { at } : { at: "live", lastMs: now };
  };
  const signedIn = (sync: NonNullable<Scenario["sync"]>): AccountStatus => ({
    at: "signed-in",
    userId: own.userId,
    deviceId: "QZVTWMKXEA",
    homeserver: "https://matrix.tessera.example",
    sync: syncOf(sync),
    fingerprint: "9vKxq2mWc0Lr7TzYdE3nHs5BfJ1uPaG8oRiX4tNkQyM",
    name: own.name,
  });
  let status: AccountStatus =
    scenario.account === "signed-out" ? { at: "signed-out" } : signedIn(scenario.sync ?? "live");

  const emit = <E extends EventName>(event: E, payload: Events[E]): void => {
    for (const listener of listeners.get(event) ?? []) listener(structuredClone(payload));
  };
  const found = (roomId: string): FakeRoom => {
    const room = rooms.get(roomId);
    if (room === undefined) throw new FakeError("not-found");
    return room;
  };
  // What is on its way stands far behind what the server has ordered.
  const nextOrder = (roomId: string): number =>
    1 +
    Math.max(
      -1,
      ...found(roomId)
        .items.map((item) => item.order)
        .filter((order) => order < 1e9),
    );
  const put = (item: Item): void => {
    const one = found(item.roomId);
    const at = one.items.findIndex((known) => known.itemId === item.itemId);
    if (at === -1) one.items.push(item);
    else one.items[at] = item;
    one.items.sort((a, b) => a.order - b.order);
    const latest = one.items.at(-1);
    if (latest !== undefined) one.room = { ...one.room, latest, lastActivityMs: latest.sentAtMs };
    emit("timeline.changed", { roomId: item.roomId, items: [item] });
    emit("rooms.changed", { roomIds: [item.roomId] });
  };
  const owner = (itemId: string): Item => {
    for (const one of rooms.values()) {
      const item = one.items.find((known) => known.itemId === itemId);
      if (item !== undefined) return item;
    }
    throw new FakeError("not-found");
  };
  const deliver = async (item: Item): Promise<void> => {
    await wait(20);
    const sending: Item = { ...item, state: "sending" };
    delete sending.failure;
    put(sending);
    if (fake.sends === "hang") return;
    await wait(60);
    if (fake.sends === "ok")
      put({ ...sending, state: "sent", eventId: `$sent-${item.itemId}`, order: nextOrder(item.roomId) });
    else put({ ...sending, state: "failed", failure: new FakeError(fake.sends).failure });
  };
  const enter = (): { userId: string; deviceId: string } => {
    status = signedIn("live");
    emit("account.changed", { status });
    return { userId: own.userId, deviceId: "QZVTWMKXEA" };
  };
  const changed = (roomIds: string[]): Record<string, never> => {
    emit("rooms.changed", { roomIds });
    return {};
  };
  const left = (roomId: string): Record<string, never> => {
    const one = found(roomId);
    one.room = { ...one.room, membership: "leave" };
    return changed([roomId]);
  };
  const needAccount = (): void => {
    if (vault.at !== "ready") throw new FakeError("locked");
    if (status.at === "signed-out") throw new FakeError("not-signed-in");
  };

  const verification = fakeVerification({
    flows: scenario.verifications ?? [],
    ownId: own.userId,
    emit,
    fail: (code) => {
      throw new FakeError(code);
    },
    roomOf: (userId) => [...rooms.values()].find((one) => one.room.directUserId === userId)?.room.roomId,
  });

  const trust = fakeTrust({
    scenario: scenario.trust ?? {},
    ownId: own.userId,
    currentId: "QZVTWMKXEA",
    emit,
    fail: (code, details) => {
      throw new FakeError(code, details);
    },
    membersOf: (roomId) => found(roomId).members,
    roomIds: () => [...rooms.values()].filter((one) => one.room.encrypted).map((one) => one.room.roomId),
  });

  const backup = fakeBackup({
    scenario:
      scenario.atRisk === true
        ? { status: { at: "on", version: "7", backedUp: 1679, total: 1893, uploading: true }, ...scenario.backup }
        : (scenario.backup ?? {}),
    emit,
    fail: (code, details) => {
      throw new FakeError(code, details);
    },
  });

  const invites = fakeInvites({
    scenario: scenario.invites ?? {},
    ownId: own.userId,
    emit,
    fail: (code, details) => {
      throw new FakeError(code, details);
    },
  });

  const handlers: Handlers<CommandName> = {
    ...trust.handlers,
    ...invites.handlers,
    ...backup.handlers,
    ...verification.handlers,
    "account.discover": ({ server }) => {
      if (/nowhere/.test(server)) throw new FakeError("unreachable");
      if (/website/.test(server)) throw new FakeError("not-a-homeserver");
      if (server.startsWith("http://")) throw new FakeError("unsupported");
      const name = server.replace(/^https?:\/\//, "");
      return {
        homeserver: `https://matrix.${name}`,
        flows: /browser/.test(server) ? ["oauth"] : (scenario.flows ?? ["password"]),
        versions: ["v1.17"],
        registration: scenario.registration ?? /open/.test(server),
      };
    },
    "account.login": ({ password }) => {
      if (password !== "correct") throw new FakeError("forbidden");
      return enter();
    },
    "account.register": ({ user }) => {
      if (user === "taken") throw new FakeError("conflict");
      return enter();
    },
    "account.renew": ({ password }) => {
      if (password !== "correct") throw new FakeError("forbidden");
      if (status.at !== "signed-in") throw new FakeError("not-signed-in");
      status = { ...status, deviceId: "ANEWDEVICE" };
      emit("account.changed", { status });
      return { userId: status.userId, deviceId: status.deviceId };
    },
    "account.rescue": ({ password }) => {
      if (password !== "correct") throw new FakeError("forbidden");
      if (status.at !== "signed-in") throw new FakeError("not-signed-in");
      status = { ...status, deviceId: "ANEWDEVICE", sync: { at: "live", lastMs: Date.now() } };
      emit("account.changed", { status });
      const saved = scenario.rescued ?? {
        ...{ roomKeys: 1893, roomKeysComplete: true },
        ...{ secrets: ["backup", "master", "selfSigning", "userSigning"], messages: "kept" },
      };
      return { userId: status.userId, deviceId: status.deviceId, saved };
    },
    "account.list": () => (status.at === "signed-in" ? [status] : []),
    "account.status": () => status,
    "account.logout": ({ force }) => {
      const risk = backup.unbackedUp();
      if (scenario.atRisk === true && risk.unbackedUp > 0 && force !== true)
        throw new FakeError("history-at-risk", { ...risk, conversations: 312 });
      status = { at: "signed-out" };
      emit("account.changed", { status });
      return { serverTold: true };
    },
    "account.sync": async () => {
      await wait(50);
      return { at: Date.now() };
    },
    "app.info": () => ({ version: "0.1.0", protocol: 1, door: "loopback", platform: "linux x64", node: "24.21.0" }),
    "app.preferences": (change) => {
      preferences = { ...preferences, ...(change as Partial<Preferences>) };
      return preferences;
    },
    "app.active": () => ({}),
    "app.openLink": () => ({}),
    "vault.status": () => vault,
    "vault.unlock": (input) => {
      if (input.passphrase !== passphrase) throw new FakeError("wrong-key");
      fake.setVault({ at: "ready" });
      return {};
    },
    "vault.setPassphrase": (input) => {
      if (passphrase !== undefined && input.current !== passphrase) throw new FakeError("wrong-key");
      passphrase = input.passphrase ?? undefined;
      fake.setVault({ at: "ready", passphrase: passphrase !== undefined });
      return {};
    },
    "vault.retryKeychain": async () => {
      await wait(120);
      if (vault.at !== "ready") throw new FakeError("keychain-missing");
      return { at: vault.at };
    },
    "vault.lock": () => {
      fake.setVault({ at: "locked" });
      return {};
    },
    "rooms.list": ({ roomIds }) => {
      needAccount();
      const all = [...rooms.values()].map((one) => one.room);
      return roomIds === undefined ? all : all.filter((room) => roomIds.includes(room.roomId));
    },
    "rooms.create": (input) => {
      const roomId = `!made${(count += 1)}:tessera.example`;
      const invitee = input.invite?.[0];
      const name = input.name ?? invitee ?? "";
      const room: Room = {
        ...{ roomId, kind: input.kind, name, membership: "join", encrypted: input.encrypted ?? true },
        ...{
          unread: { messages: 0, mentions: 0 },
          lastActivityMs: Date.now(),
          members: 1 + (input.invite?.length ?? 0),
        },
        ...{ muted: false, favourite: false },
        ...(input.kind === "dm" && invitee !== undefined ? { directUserId: invitee } : {}),
      };
      rooms.set(roomId, { room, items: [], members: [] });
      changed([roomId]);
      return { roomId };
    },
    "rooms.join": ({ room }) => {
      const one = found(room);
      one.room = { ...one.room, membership: "join", lastActivityMs: Date.now() };
      changed([room]);
      return { roomId: room };
    },
    "rooms.leave": ({ roomId }) => left(roomId),
    "rooms.invite": ({ roomId, userId }) => {
      const trust = { userId, identity: "none" as const };
      found(roomId).members.push({ userId, name: userId, membership: "invite", powerLevel: 0, trust });
      return changed([roomId]);
    },
    "rooms.remove": ({ roomId }) => changed([roomId]),
    "rooms.members": ({ roomId }) =>
      found(roomId).members.map((member) => {
        const identity = trust.identityOf(member.userId);
        return identity === undefined ? member : { ...member, trust: { userId: member.userId, identity } };
      }),
    "rooms.lastOpened": ({ roomId }) => {
      lastOpened = roomId ?? lastOpened;
      return lastOpened === undefined ? {} : { roomId: lastOpened };
    },
    "people.ignore": ({ userId, ignored: yes }) => {
      if (yes) ignored.add(userId);
      else ignored.delete(userId);
      return {};
    },
    "people.ignored": () => [...ignored],
    "timeline.load": ({ roomId, before, limit = 50 }) => {
      const { items } = found(roomId);
      const end = before === undefined ? items.length : Number(before);
      const start = Math.max(0, end - limit);
      return { items: items.slice(start, end), ...(start > 0 ? { before: String(start) } : {}), from: "store" };
    },
    "timeline.send": ({ roomId, body }) => {
      const item: Item = {
        ...{
          itemId: `~${(count += 1)}`,
          roomId,
          sender: own.userId,
          senderName: own.name,
          sentAtMs: Date.now(),
          state: "pending",
          kind: "text",
        },
        ...{ body, reactions: [], encryption: { at: "encrypted", shield: "none" }, order: 1e9 + count },
        ...(body.includes("**") ? { html: body.replace(/\*\*([^*]+)\*\*/g, "<strong>$1</strong>") } : {}),
      };
      put(item);
      void deliver(item);
      return { itemId: item.itemId };
    },
    "timeline.redact": ({ itemId }) => {
      const { html: _html, ...item } = owner(itemId);
      put({ ...item, kind: "redacted", body: "" });
      return {};
    },
    "timeline.retry": ({ itemId }) => {
      void deliver(owner(itemId));
      return {};
    },
    "timeline.discard": ({ itemId }) => {
      const item = owner(itemId);
      const one = found(item.roomId);
      one.items = one.items.filter((known) => known.itemId !== itemId);
      emit("timeline.changed", { roomId: item.roomId, items: [], removed: [itemId] });
      return {};
    },
    "timeline.markRead": ({ roomId }) => {
      const one = found(roomId);
      if (one.room.unread.messages === 0) return {};
      one.room = { ...one.room, unread: { messages: 0, mentions: 0 } };
      return changed([roomId]);
    },
    "timeline.retryDecryption": async ({ itemId }) => {
      await wait(150);
      const item = owner(itemId);
      if (item.undecryptable?.reason === "missing-key") {
        const { undecryptable: _gone, ...rest } = item;
        put({ ...rest, kind: "text", body: "The key has arrived, so here is what I wrote." });
      }
      return {};
    },
    "timeline.draft": ({ roomId, body }) => {
      if (body !== undefined) drafts.set(roomId, body);
      return { body: drafts.get(roomId) ?? "" };
    },
  };

  const fake: Fake = {
    calls: [],
    failing: { ...scenario.failing },
    held: new Set(),
    verification: verification.fake,
    trust: trust.fake,
    backup: backup.fake,
    invites: invites.fake,
    meet(userId) {
      const roomId = `!met${(count += 1)}:tessera.example`;
      const room: Room = {
        ...{
          roomId,
          kind: "dm",
          name: userId.slice(1).split(":")[0] ?? "",
          membership: "join",
          encrypted: true,
          directUserId: userId,
        },
        ...{ unread: { messages: 0, mentions: 0 }, lastActivityMs: Date.now(), members: 2 },
        ...{ muted: false, favourite: false },
      };
      rooms.set(roomId, { room, items: [], members: [] });
      emit("rooms.changed", { roomIds: [roomId] });
      return roomId;
    },
    sends: "ok",
    emit,
    setSync(at) {
      status = signedIn(at);
      emit("account.changed", { status });
    },
    setVault(next) {
      vault = { ...vault, ...next };
      emit("vault.changed", { at: vault.at });
    },
    removed: (roomId) => {
      left(roomId);
    },
    receive(roomId, body, more = {}) {
      const one = found(roomId);
      const from =
        one.items.findLast((item) => item.sender !== own.userId) ??
        one.members.find((member) => member.userId !== own.userId);
      const sender = from === undefined ? "@ana:example.org" : "sender" in from ? from.sender : from.userId;
      const item: Item = {
        ...{
          itemId: `$in${(count += 1)}`,
          eventId: `$in${count}`,
          roomId,
          sender,
          sentAtMs: Date.now(),
          state: "sent",
          kind: "text",
          body,
        },
        ...{ reactions: [], encryption: { at: "encrypted", shield: "none" }, order: nextOrder(roomId) },
        ...more,
      };
      one.room = { ...one.room, unread: { ...one.room.unread, messages: one.room.unread.messages + 1 } };
      put(item);
      return item;
    },
    items: (roomId) => found(roomId).items,
    room: (roomId) => rooms.get(roomId)?.room,
  };

  const answer = async (name: string, input: unknown): Promise<Answer<unknown>> => {
    // What crosses a real door is a copy; a proxy or a function would not get through.
    const copy: unknown = structuredClone(input);
    fake.calls.push({ name, input: copy });
    if (scenario.latencyMs !== undefined) await wait(scenario.latencyMs);
    else await Promise.resolve();
    while (fake.held.has(name as CommandName)) await wait(10);
    try {
      const code = fake.failing[name as CommandName];
      if (code !== undefined) throw new FakeError(code);
      const handler = (Object.hasOwn(handlers, name) ? handlers[name as CommandName] : never) as (
        input: unknown,
      ) => unknown;
      return { ok: true, value: structuredClone(await handler(copy)) };
    } catch (error) {
      if (error instanceof FakeError) return { ok: false, error: error.failure };
      throw error;
    }
  };

  const core: FakeCore = {
    call: answer,
    on(event, listener) {
      const known = listeners.get(event) ?? new Set();
      listeners.set(event, known.add(listener));
      return () => void known.delete(listener);
    },
  };
  return { core, fake };
}
