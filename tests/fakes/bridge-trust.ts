/** Keys, devices, identity and trust of the fake: believable, changing as the real ones would, with the ways in which they fail. */
import type { DeviceKeysStatus } from "../../preload/contract/device-keys.ts";
import type { Device } from "../../preload/contract/devices.ts";
import type { FailureCode } from "../../preload/contract/define.ts";
import type { CommandName, EventName, Events, Handlers } from "../../preload/contract/index.ts";
import type { Member, UserTrust } from "../../preload/contract/rooms.ts";
import type { LedgerEntry, Practice, Recipients, Repaired, SendTo, TrustStatus } from "../../preload/contract/trust.ts";

export type TrustScenario = {
  status?: Partial<TrustStatus>;
  keys?: Partial<DeviceKeysStatus>;
  /** What the server wants before it touches the account as a whole. */
  wants?: "password" | "page";
  devices?: "some" | "alone";
  /** Identities of others that are not what the rooms say. */
  identities?: Record<string, UserTrust["identity"]>;
  sendTo?: SendTo;
  /** What a repair leaves: without a key, and with it. */
  repair?: { alone: Repaired["left"]; withKey: Repaired["left"] };
  practice?: Practice;
  /** Ana has a device that she had not at one's last message. */
  grew?: boolean;
};

type Names = "deviceKeys.status" | Extract<CommandName, `devices.${string}`> | Extract<CommandName, `trust.${string}`>;
type Parts = {
  scenario: TrustScenario;
  ownId: string;
  currentId: string;
  emit: <E extends EventName>(event: E, payload: Events[E]) => void;
  fail: (code: FailureCode, details?: unknown) => never;
  membersOf: (roomId: string) => Member[];
  roomIds: () => string[];
};
export type FakeTrust = {
  setStatus(status: Partial<TrustStatus>): void;
  setKeys(keys: Partial<DeviceKeysStatus>): void;
  setIdentity(userId: string, identity: UserTrust["identity"]): void;
  signIn(device: Partial<Device>): void;
  /** Devices that were signed out. */
  signedOut: string[];
};

export const recoveryKey = "EsTd 9VvJ pcV2 3KEc buY2 sfQ2 NXJL EdF9 TN99 D6q6 iAzu YUVr";
const accountPassword = "correct";
const passphrase = "correct horse battery staple";
const hour = 3_600_000;
const day = 24 * hour;

export function fakeTrust({ scenario, ownId, currentId, emit, fail, membersOf, roomIds }: Parts): {
  handlers: Pick<Handlers<CommandName>, Names>;
  fake: FakeTrust;
  identityOf: (userId: string) => UserTrust["identity"] | undefined;
} {
  const now = Date.now();
  let status: TrustStatus = {
    identity: "verified",
    secrets: { master: true, selfSigning: true, userSigning: true, backup: true },
    recovery: "ready",
    problems: [],
    ...scenario.status,
  };
  let keys: DeviceKeysStatus = {
    oneTime: { onServer: 47, target: 50, uploadedTotal: 1312, atMs: now },
    fallback: {
      support: "supported",
      current: { keyId: "AAAAHg", uploadedAtMs: now - 2 * day },
      previous: { keyId: "AAAAGw", forgetAfterMs: now + 40 * 60_000 },
      unusedOnServer: true,
    },
    problems: [],
    log: [
      { atMs: now - 2 * day, kind: "rotated", keyId: "AAAAHg" },
      { atMs: now - 2 * day - 800, kind: "reported-used", keyId: "AAAAGw" },
      { atMs: now - 9 * day, kind: "uploaded", detail: "50 one-time keys" },
      { atMs: now - 9 * day, kind: "uploaded", keyId: "AAAAGw" },
    ],
    ...scenario.keys,
  };
  const identities = new Map(Object.entries(scenario.identities ?? {}));
  const overrides = new Map<string, SendTo>();
  let sendTo: SendTo = scenario.sendTo ?? "signed-devices";
  const signedOut: string[] = [];

  const device = (userId: string, deviceId: string, name: string, more: Partial<Device> = {}): Device => ({
    ...{ userId, deviceId, name, blocked: false, current: false, signedByOwner: true, verified: true },
    ...{ stale: false, dehydrated: false },
    ...more,
  });
  let own: Device[] = [
    device(ownId, currentId, "Tessera (Linux)", {
      current: true,
      verified: status.identity === "verified",
      signedByOwner: status.identity === "verified",
      lastSeenMs: now - 20_000,
      lastSeenIp: "203.0.113.7",
    }),
    ...(scenario.devices === "alone"
      ? []
      : [
          device(ownId, "PHONEMARAX", "Mara’s phone", { lastSeenMs: now - 3 * hour, lastSeenIp: "198.51.100.23" }),
          device(ownId, "OLDLAPTOPX", "Old laptop", {
            ...{ verified: false, signedByOwner: false, stale: true },
            ...{ lastSeenMs: now - 131 * day, lastSeenIp: "192.0.2.80" },
          }),
          device(ownId, "WEBBROWSER", "Library browser", {
            ...{ verified: false, signedByOwner: false },
            ...{ lastSeenMs: now - 9 * day, lastSeenIp: "2001:db8::4f" },
          }),
        ]),
  ];
  const others = new Map<string, Device[]>();
  const devicesOf = (userId: string): Device[] => {
    if (userId === ownId) return own;
    const known = others.get(userId);
    if (known !== undefined) return known;
    const who = userId.slice(1, 3).toUpperCase();
    const made =
      userId === "@jonas:example.org"
        ? [
            device(userId, "JONASPHONE", "Telefon", { verified: false }),
            device(userId, "JONASOLDTB", "Tablet", { verified: false, signedByOwner: false }),
          ]
        : [
            device(userId, `${who}PHONEXXXX`, "Phone", { verified: identityOf(userId) === "verified" }),
            ...(userId === "@ana:example.org"
              ? [device(userId, "KDESKTOPAN", "Desk", { verified: identityOf(userId) === "verified" })]
              : []),
          ];
    others.set(userId, made);
    return made;
  };
  const identityOf = (userId: string): UserTrust["identity"] =>
    identities.get(userId) ?? (/^@(ana|omar|mum):/.test(userId) ? "verified" : "pinned");
  const ledgers = new Map<string, LedgerEntry[]>();
  const ledgerOf = (userId: string): LedgerEntry[] => {
    const known = ledgers.get(userId);
    if (known !== undefined) return known;
    const bad = ["changed", "verification-violated"].includes(identityOf(userId));
    const entry = (agoMs: number, kind: string, more: Partial<LedgerEntry> = {}): LedgerEntry => ({
      ...{ atMs: now - agoMs, kind, userId, detail: "" },
      ...more,
    });
    const made = [
      ...(bad ? [entry(2 * day, "changed")] : []),
      entry(20 * day, "device-added", { deviceId: "KDESKTOPAN" }),
      ...(["verified", "verification-violated"].includes(identityOf(userId)) ? [entry(96 * day, "verified")] : []),
      entry(212 * day, "first-seen"),
    ];
    ledgers.set(userId, made);
    return made;
  };
  const note = (userId: string, kind: string, deviceId?: string): void => {
    ledgers.set(userId, [
      { atMs: Date.now(), kind, userId, detail: "", ...(deviceId === undefined ? {} : { deviceId }) },
      ...ledgerOf(userId),
    ]);
  };
  const trustOf = (userId: string): UserTrust => ({
    userId,
    identity: identityOf(userId),
    sinceMs: now - (["changed", "verification-violated"].includes(identityOf(userId)) ? 2 : 96) * day,
    fingerprint: "u7Wc1QmR4tYb8KzLxN0pSaVfHgJdEiOoT3rMq2wBcXe",
  });
  const authenticate = (password: string | undefined): void => {
    if (scenario.wants === undefined) return;
    if (scenario.wants === "page") {
      if (!pageConfirmed) {
        pageConfirmed = true;
        fail("authentication-required", { flows: [["m.oauth"]], url: "https://account.tessera.example/confirm" });
      }
      return;
    }
    if (password === undefined) fail("authentication-required", { flows: [["m.login.password"]] });
    if (password !== accountPassword) fail("forbidden");
  };
  let pageConfirmed = false;
  let practice: Practice = scenario.practice ?? { due: false };
  const setStatus = (next: Partial<TrustStatus>): void => {
    status = { ...status, ...next };
    if (status.identity === "verified")
      own = own.map((one) => (one.current ? { ...one, verified: true, signedByOwner: true } : one));
    emit("trust.changed", { own: true });
  };
  const complete = (): { recoveryKey: string } => {
    setStatus({
      identity: "verified",
      recovery: "ready",
      secrets: { master: true, selfSigning: true, userSigning: true, backup: true },
      problems: [],
    });
    return { recoveryKey };
  };
  const open = (given: { recoveryKey?: string | undefined; passphrase?: string | undefined }): void => {
    if (given.passphrase !== undefined) {
      if (given.passphrase !== passphrase) fail("wrong-key", { kind: "passphrase" });
    } else if ((given.recoveryKey ?? "").replace(/\s/g, "") !== recoveryKey.replace(/\s/g, ""))
      fail("wrong-key", { kind: "recovery-key" });
  };
  const reasonFor = (one: Device, choice: SendTo): Recipients["withheld"][number]["reason"] | undefined => {
    if (one.blocked) return "blocked";
    if (one.userId !== ownId && identityOf(one.userId) === "verification-violated") return "identity-changed";
    if (choice !== "everyone" && !one.signedByOwner) return "unsigned-device";
    if (choice === "verified-users" && one.userId !== ownId && identityOf(one.userId) !== "verified")
      return "unverified-user";
    return undefined;
  };
  const recipients = (roomId: string, choice: SendTo): Recipients => {
    const devices = membersOf(roomId)
      .filter((member) => member.membership === "join")
      .flatMap((member) => devicesOf(member.userId))
      .filter((one) => !one.current);
    const withheld = devices.flatMap((one) => {
      const reason = reasonFor(one, choice);
      return reason === undefined ? [] : [{ device: one, reason }];
    });
    const left = new Set(withheld.map((one) => one.device));
    const receives = devices.filter((one) => !left.has(one));
    const changed = [
      ...new Set(withheld.filter((one) => one.reason === "identity-changed").map((one) => one.device.userId)),
    ];
    const grew = scenario.grew === true ? receives.filter((one) => one.deviceId === "KDESKTOPAN") : [];
    return {
      receives,
      withheld,
      ...(grew.length === 0 ? {} : { grewSince: grew }),
      ...(changed.length === 0 ? {} : { refused: { code: "identity-changed" as const, userIds: changed } }),
    };
  };
  const changedUser = (userId: string): UserTrust => {
    emit("trust.changed", { userIds: [userId] });
    return trustOf(userId);
  };
  const effective = (choice: SendTo): SendTo => (status.identity === "none" ? "everyone" : choice);

  const handlers: Pick<Handlers<CommandName>, Names> = {
    "deviceKeys.status": () => keys,
    "devices.list": ({ userId }) => devicesOf(userId ?? ownId),
    "devices.rename": ({ deviceId, name }) => {
      own = own.map((one) => (one.deviceId === deviceId ? { ...one, name } : one));
      emit("devices.changed", { userIds: [ownId] });
      return {};
    },
    "devices.signOut": ({ deviceIds, password }) => {
      authenticate(password);
      signedOut.push(...deviceIds);
      own = own.filter((one) => !deviceIds.includes(one.deviceId));
      emit("devices.changed", { userIds: [ownId] });
      return { signedOut: deviceIds, failed: [] };
    },
    "devices.block": ({ userId, deviceId, blocked }) => {
      others.set(
        userId,
        devicesOf(userId).map((one) => (one.deviceId === deviceId ? { ...one, blocked } : one)),
      );
      note(userId, blocked ? "blocked" : "unblocked", deviceId);
      emit("devices.changed", { userIds: [userId] });
      return {};
    },
    "trust.status": () => status,
    "trust.setUp": ({ password }) => {
      if (status.identity === "this-device-unverified") fail("conflict", { kind: "identity" });
      authenticate(password);
      return complete();
    },
    "trust.reset": ({ password }) => {
      authenticate(password);
      return complete();
    },
    "trust.recover": (given) => {
      open(given);
      complete();
      return { missing: [] };
    },
    "trust.repair": (given) => {
      const withKey = given.recoveryKey !== undefined || given.passphrase !== undefined;
      if (withKey) open(given);
      const left = scenario.repair?.[withKey ? "withKey" : "alone"] ?? [];
      const stays = new Set(left.map(({ problem }) => problem));
      const repaired = status.problems.filter((problem) => !stays.has(problem));
      setStatus({ problems: status.problems.filter((problem) => stays.has(problem)) });
      return { repaired, left };
    },
    "trust.practice": () => practice,
    "trust.checkRecovery": (given) => {
      open(given);
      practice = { lastDrill: { atMs: Date.now(), ok: true }, due: false };
      emit("trust.changed", { own: true });
      return { ok: true, opens: ["master", "selfSigning", "userSigning", "backup"], sampleKeysDecrypted: 20 };
    },
    "trust.user": ({ userId }) => trustOf(userId),
    "trust.acceptIdentity": ({ userId }) => {
      identities.set(userId, "pinned");
      note(userId, "accepted");
      return changedUser(userId);
    },
    "trust.withdrawVerification": ({ userId }) => {
      identities.set(userId, "pinned");
      note(userId, "withdrawn");
      return changedUser(userId);
    },
    "trust.policy": ({ sendTo: wanted, roomId }) => {
      if (wanted !== undefined) {
        if (wanted === null) overrides.delete(roomId);
        else if (roomId === undefined) sendTo = wanted;
        else overrides.set(roomId, wanted);
        emit("trust.changed", {});
      }
      const override = roomId === undefined ? undefined : overrides.get(roomId);
      return {
        sendTo,
        ...(override === undefined ? {} : { roomOverride: override }),
        effective: effective(override ?? sendTo),
      };
    },
    "trust.recipients": ({ roomId }) => recipients(roomId, effective(overrides.get(roomId) ?? sendTo)),
    "trust.simulate": ({ sendTo: wanted, roomId }) => ({
      rooms: (roomId === undefined ? roomIds() : [roomId]).flatMap((id) => {
        const before = new Set(
          recipients(id, effective(overrides.get(id) ?? sendTo)).withheld.map((one) => one.device),
        );
        const withheld = recipients(id, wanted).withheld.filter((one) => !before.has(one.device));
        return withheld.length === 0 ? [] : [{ roomId: id, withheld }];
      }),
    }),
    "trust.ledger": ({ userId, limit = 200 }) => ledgerOf(userId ?? ownId).slice(0, limit),
  };

  return {
    handlers,
    identityOf: (userId) => identities.get(userId),
    fake: {
      signedOut,
      setStatus,
      setKeys(next) {
        keys = { ...keys, ...next };
        emit("deviceKeys.changed", { status: keys });
      },
      setIdentity(userId, identity) {
        identities.set(userId, identity);
        emit("trust.changed", { userIds: [userId] });
      },
      signIn(more) {
        own = [
          ...own,
          device(ownId, "NEWDEVICEX", "Tessera (macOS)", { verified: false, signedByOwner: false, ...more }),
        ];
        emit("devices.changed", { userIds: [ownId] });
      },
    },
  };
}
