import { randomBytes } from "node:crypto";
import path from "node:path";
import type { AccountStatus, SignedIn, SyncState } from "../../preload/contract/account.ts";
import type { Emit, Events } from "../../preload/contract/index.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import type { AccountHandlers } from "./dispatch.ts";
import { CoreError, toFailure } from "./errors.ts";
import type { Feature } from "./feature.ts";
import { createAccountHandlers } from "./features/account/handlers.ts";
import { createBackup } from "./features/backup/backup.ts";
import { createDeviceKeys } from "./features/device-keys/device-keys.ts";
import { createDeviceKeysHandlers } from "./features/device-keys/handlers.ts";
import { blankHistory } from "./features/device-keys/history.ts";
import { becomeDevice } from "./features/renew/device-change.ts";
import { createSalvage } from "./features/renew/salvage.ts";
import { createHistorySharingFeature } from "./features/history-sharing/history-sharing.ts";
import { createInvites } from "./features/invites/feature.ts";
import { createRoomsHandlers } from "./features/rooms/handlers.ts";
import { roomList } from "./features/rooms/room-list.ts";
import { createTimelineHandlers } from "./features/timeline/handlers.ts";
import { createHistory } from "./features/timeline/history.ts";
import { createIngest } from "./features/timeline/ingest.ts";
import { itemFromQueue, itemsFrom } from "./features/timeline/items.ts";
import { createDeviceFacts } from "./features/devices/device-facts.ts";
import { createDevicesHandlers } from "./features/devices/handlers.ts";
import { createReadMarkers } from "./features/timeline/read-markers.ts";
import { createSendQueue } from "./features/timeline/send-queue.ts";
import { directRoom } from "./features/verification/direct-room.ts";
import { createVerification } from "./features/verification/feature.ts";
import { createVerificationHandlers } from "./features/verification/handlers.ts";
import { createRoomSender } from "./features/verification/room-sender.ts";
import { createShieldReview } from "./features/timeline/shield-review.ts";
import { createUndecryptableRetry } from "./features/timeline/undecryptable-retry.ts";
import { createIdentityHandlers } from "./features/trust/identity-handlers.ts";
import { createTrust } from "./features/trust/trust-handlers.ts";
import { object, text, texts } from "./json.ts";
import { log } from "./log.ts";
import type { Crypto } from "./matrix/crypto.ts";
import { createHttp } from "./matrix/http.ts";
import type { PushRules } from "./matrix/push-rules.ts";
import type { Touched } from "./room-event.ts";
import { createAccountStore } from "./storage/account-store.ts";
import { createBackupStore } from "./storage/backup-store.ts";
import { openAccountDatabase } from "./storage/database.ts";
import { openCryptoDatabase } from "./storage/crypto-database.ts";
import { createDeviceKeysStore } from "./storage/device-keys-store.ts";
import { createIdentityStore } from "./storage/identity-store.ts";
import { createHistorySharingStore } from "./storage/history-sharing-store.ts";
import { createRescuedSecrets } from "./storage/rescued-secrets.ts";
import { createSalvageStore } from "./storage/salvage-store.ts";
import { createOlmSessions } from "./storage/olm-sessions.ts";
import { createQueueStore } from "./storage/queue-store.ts";
import { createRoomStore, type RoomRow } from "./storage/room-store.ts";
import { createTimelineStore, type EventRow } from "./storage/timeline-store.ts";
import { createTrustStore } from "./storage/trust-store.ts";
import { createVerificationStore } from "./storage/verification-store.ts";
import { createUndecryptableStore } from "./storage/undecryptable-store.ts";
import { createAccountData } from "./sync/account-data.ts";
import { applyBatch, refresh, type Applied } from "./sync/apply.ts";
import { roomEvent } from "./sync/batch.ts";
import { createEncrypt, readersOf } from "./sync/encrypt.ts";
import { fetchFirstRooms } from "./sync/first-rooms.ts";
import { createGapFiller } from "./sync/gap-filler.ts";
import { createSyncLoop } from "./sync/loop.ts";
import { createMemberLoader } from "./sync/members.ts";
import { poll } from "./sync/v2.ts";
import type { WorkerStart } from "./worker-port.ts";

const muchToSend = 20;

type AccountStart = Extract<WorkerStart, { kind: "account" }>;
export type Session = {
  handlers: AccountHandlers;
  status: () => SignedIn;
  /** Starts crypto, the sync loop and the send queue. The store answers before. */
  run: () => void;
  stop: () => Promise<void>;
};

/** Builds one account: storage, client, features, and the wires between them. Longer than most: it is the one place that knows all parts. */
export async function startSession(
  start: AccountStart,
  send: (event: string, payload: unknown) => void,
  decryptWorker: URL,
): Promise<Session> {
  const { session } = start;
  const me = session.userId;
  const nowMs = () => Date.now();
  const db = openAccountDatabase(path.join(start.folder, "account.db"), start.keys.account, !start.lastStopOrderly);
  const account = createAccountStore(db);
  const rooms = createRoomStore(db, me);
  const timeline = createTimelineStore(db);
  const queue = createQueueStore(db);
  const salvageStore = createSalvageStore(db);
  await becomeDevice(salvageStore, start.folder, session.deviceId);
  const cryptoDatabase = openCryptoDatabase(start.folder, start.keys.crypto, !start.lastStopOrderly);
  start.keys.account.fill(0);
  start.keys.crypto.fill(0);
  const emit: Emit = <N extends keyof Events>(event: N, payload: Events[N]) => {
    send(event, payload);
  };

  const http = createHttp({
    homeserver: session.homeserver,
    accessToken: session.accessToken,
    proxy: start.proxy,
    barrier: () => cryptoDatabase.barrier(),
  });

  let syncState: SyncState = { at: "starting" };
  let fingerprint: string | undefined;
  const status = (): SignedIn => {
    const name = account.meta("own_name");
    return {
      at: "signed-in",
      userId: me,
      deviceId: session.deviceId,
      homeserver: session.homeserver,
      sync: syncState,
      ...(fingerprint === undefined ? {} : { fingerprint }),
      ...(name === undefined ? {} : { name }),
    };
  };
  const statusChanged = () => {
    const payload: { status: AccountStatus } = { status: status() };
    emit("account.changed", payload);
  };

  /** What lives beside rooms and timeline; told of crypto, of each sync, and of the end. */
  const features: Feature[] = [];

  let pushRules: PushRules | undefined;
  let stopping = false;
  const cryptoStarted = Promise.withResolvers<Crypto>();
  // whoever awaits it sees the failure; nobody may be waiting
  cryptoStarted.promise.catch(() => undefined);
  let cryptoNow = cryptoStarted.promise;
  const crypto = () => cryptoNow;

  const loadMembers = createMemberLoader({ db, http, rooms, account });

  const trustStore = createTrustStore(db);
  const deviceFacts = createDeviceFacts({ me, current: session.deviceId, store: trustStore, nowMs });
  const trust = createTrust({
    me,
    deviceId: session.deviceId,
    store: trustStore,
    rooms,
    crypto,
    olmSessions: createOlmSessions(cryptoDatabase.globals),
    loadMembers,
    membersOf: (roomId) => readersOf(rooms, roomId),
    shown: deviceFacts.shown,
    emit,
    nowMs,
  });
  features.push(trust.feature);

  const stores = { rooms, timeline, me, shieldNow: trust.shields.now };
  const ingest = createIngest({
    db,
    timeline,
    queue,
    me,
    nowMs,
    evaluate: (roomId, event) => pushRules?.evaluate(roomId, event) ?? 1,
    undecryptable: {
      asksOwnDevices: () => undecryptable.asksOwnDevices(),
      failed: (numbers) => {
        undecryptable.failed(numbers);
      },
    },
    shieldThen: trust.shields.then,
  });
  const tellRows = (rows: EventRow[]) => {
    for (const [roomId, ofRoom] of Map.groupBy(rows, (row) => row.room_id))
      tellItems(roomId, { events: new Set(ofRoom.map((row) => row.event_id)) }, false);
  };
  const undecryptable = createUndecryptableRetry({
    askBackup: (keys) => {
      backup.ask(keys);
    },
    db,
    store: createUndecryptableStore(db),
    timeline,
    createKeyRequests: async (core) => (await import("./matrix/key-requests.ts")).createKeyRequests(core, nowMs),
    retry: (core, rows) => retryDecryption(core, rows),
    tell: tellRows,
    nowMs,
  });
  features.push(undecryptable, createShieldReview({ db, timeline, shieldThen: trust.shields.then, tell: tellRows }));
  const historySharing = createHistorySharingFeature({
    store: createHistorySharingStore(db),
    rooms,
    createSharing: async (core) => (await import("./matrix/history-sharing.ts")).createHistorySharing(core),
    readers: async (roomId) =>
      (await trust.handlers["trust.recipients"]({ roomId })).receives.map(
        ({ userId, deviceId }) => `${userId} ${deviceId}`,
      ),
    nowMs,
  });
  features.push(historySharing);
  const history = createHistory({ db, http, rooms, timeline, ingest, crypto, readEvent: roomEvent });
  const accountData = createAccountData({
    http,
    account,
    me,
    settled: (type, content) => {
      if (type !== "m.direct") return;
      db.transaction(() => {
        rooms.setDirect(content);
      });
      tellRooms(Object.values(content).flatMap(texts));
    },
  });

  const deviceKeys = createDeviceKeys({
    http,
    store: createDeviceKeysStore(db, blankHistory),
    me,
    deviceId: session.deviceId,
    emit,
    nowMs,
    setAccountData: (type, content) => accountData.change(type, () => content),
    isFirstSync: () => account.syncToken() === undefined,
  });
  features.push(deviceKeys);

  const tellItems = (roomId: string, touched: Touched, gap: boolean) => {
    for (const feature of features) feature.roomEvents?.(roomId, touched.events);
    const shown = ingest.rowsOf(touched.events).filter((row) => row.shown === 1 && row.room_id === roomId);
    if (shown.length === 0) return;
    emit("timeline.changed", {
      roomId,
      items: itemsFrom(shown, stores),
      ...(gap ? { gap: true as const } : {}),
    });
  };
  const tellRooms = (roomIds: string[]) => {
    if (roomIds.length > 0) emit("rooms.changed", { roomIds });
  };
  const roomsTouched = (roomIds: Iterable<string>) => {
    const ids = [...roomIds];
    db.transaction(() => {
      for (const roomId of ids) refresh({ rooms, timeline }, roomId);
    });
    tellRooms(ids);
  };

  const loop = createSyncLoop({
    nowMs,
    poll: async (timeoutMs, signal) => {
      await crypto();
      deviceKeys.polls(account.syncToken(), timeoutMs);
      return poll(http, {
        since: account.syncToken(),
        timeoutMs,
        stateAfter: account.meta("state_after") === "1",
        signal,
      });
    },
    apply: async (batch) => {
      const rules = batch.accountData.find((data) => data.type === "m.push_rules");
      if (rules !== undefined) pushRules?.setRules(rules.content);
      if (cryptoDatabase.isBehind()) await reopenCrypto();
      return applyBatch(batch, {
        db,
        account,
        rooms,
        timeline,
        ingest,
        crypto: await crypto(),
        receive: async (core, sync) => {
          await deviceKeys.receive(core, sync);
          invites.received(sync.toDevice.length);
        },
        cryptoBarrier: () => cryptoDatabase.barrier(),
        me,
        accepted: historySharing.joined,
      }).catch((error: unknown) => {
        throw cryptoDatabase.isBehind() ? new CoreError("disk-full", { cause: error }) : error;
      });
    },
    applied: (applied) => {
      afterSync(applied);
    },
    stateChanged: (next) => {
      syncState = next;
      statusChanged();
    },
    isSendingMuch: () => queue.isLongerThan(muchToSend),
  });

  let holesSeen = false;
  let unfinished = false;
  const gapFiller = createGapFiller({
    fill: history.fillOnce,
    isOpen: (roomId, segment) => timeline.segment(roomId, segment)?.gap_token != null,
    filled: (roomId, touched) => {
      tellItems(roomId, touched, false);
      roomsTouched([roomId]);
    },
  });
  const readMarkers = createReadMarkers({
    db,
    http,
    rooms,
    timeline,
    me,
    changed: (roomId) => {
      roomsTouched([roomId]);
    },
  });

  const encrypt = createEncrypt({ rooms, loadMembers, crypto, sharing: trust.sharing });
  const sendQueue = createSendQueue({
    db,
    queue,
    rooms,
    http,
    fresh: loop.fresh,
    encrypt,
    barrier: () => cryptoDatabase.barrier(),
    changed: (row) => {
      emit("timeline.changed", {
        roomId: row.room_id,
        items: [itemFromQueue(row, me, rooms.member(row.room_id, me)?.name ?? undefined)],
      });
    },
    nowMs,
  });

  let keysChecked = false;
  const checkDeviceKeys = async () => {
    keysChecked = true;
    try {
      if (await (await crypto()).ensureDeviceKeys())
        log.warn("the server had no keys of this device; they were uploaded again");
    } catch (error) {
      keysChecked = false;
      if (!stopping) log.info(`the device's keys were not checked: ${toFailure(error).code}`);
    }
  };

  const afterSync = (applied: Applied) => {
    if (applied.malformed > 0) log.warn(`a sync held ${applied.malformed} parts of wrong shape`);
    const gaps = new Set(applied.gaps.map((gap) => gap.roomId));
    for (const [roomId, touched] of applied.events) if (!applied.first) tellItems(roomId, touched, gaps.has(roomId));
    tellRooms([...applied.rooms]);
    // a run that ended early, or met a server that was away, left holes behind
    if (!holesSeen) gapFiller.add(timeline.holes());
    else gapFiller.add(applied.gaps);
    holesSeen = true;
    gapFiller.again();
    readMarkers.flush();
    accountData.settle();
    sendQueue.wakeAll();
    if (!keysChecked && deviceKeys.areUp()) void checkDeviceKeys();
    for (const feature of features) feature.synced?.(applied);
    if (unfinished) void finish();
    unfinished = applied.unfinished;
  };
  const finish = async () => {
    try {
      await retryDecryption(await crypto(), timeline.waiting(2000));
    } catch (error) {
      unfinished = true;
      log.warn("what an earlier sync brought could not be decrypted yet", error);
    }
  };

  /** A key that came late: its rows are found by room and session, also those of an earlier run. */
  const onKeys = async (core: Crypto, keys: { roomId: string; sessionId: string }[]) => {
    const rows = keys.flatMap((key) => timeline.waitingFor(key.roomId, key.sessionId));
    await retryDecryption(core, rows);
  };
  const retryDecryption = async (core: Crypto, rows: { room_id: string; number: number }[]) => {
    const present = rows.flatMap((row) => timeline.eventByNumber(row.number) ?? []);
    if (present.length === 0 || stopping) return;
    const touched = await ingest.decrypt(core, present);
    const roomIds = new Set(present.map((row) => row.room_id));
    for (const roomId of roomIds) tellItems(roomId, touched, false);
    roomsTouched(roomIds);
  };

  const openCrypto = async (): Promise<Crypto> => {
    const client = await import("./matrix/client.ts");
    cryptoDatabase.forgetFailures();
    const core = await client.startCrypto(session, http, cryptoDatabase);
    core.onKeys((keys) => {
      onKeys(core, keys).catch((error: unknown) => {
        log.error("rows of a late key could not be decrypted", error);
      });
    });
    for (const feature of features) await feature.cryptoStarted?.(core);
    return core;
  };
  /** After a write that failed: keys that Rust crypto took for unreadable are read when the same sync comes again. */
  const reopenCrypto = async (): Promise<void> => {
    log.warn("crypto is opened anew, since a write of it failed");
    cryptoNow = Promise.resolve(await openCrypto());
  };

  const startCrypto = async () => {
    const [, push] = await Promise.all([import("./matrix/client.ts"), import("./matrix/push-rules.ts")]);
    pushRules = push.createPushRules(me, {
      joinedCount: (roomId) => rooms.room(roomId)?.joined_count ?? rooms.countMembers(roomId),
      myName: (roomId) => rooms.member(roomId, me)?.name ?? account.meta("own_name"),
      levelFor: (roomId, userId) => mayNotifyRoom(rooms, roomId, userId),
    });
    const rules = account.accountData("m.push_rules");
    if (rules !== undefined) pushRules.setRules(rules);
    const core = await openCrypto();
    if (stopping) return;
    fingerprint = core.fingerprint;
    cryptoStarted.resolve(core);
    statusChanged();
    // the device's keys go up before the first sync; keys that came in while crypto started passed our listener by
    void core.processOutgoing().catch((error: unknown) => {
      log.warn("crypto's first requests failed", error);
    });
    await retryDecryption(core, timeline.waiting(2000));
  };

  const latestOf = (rows: RoomRow[]): Map<string, Item> => {
    const events = rows.flatMap((row) =>
      row.latest_event === null ? [] : (timeline.eventByNumber(row.latest_event) ?? []),
    );
    const latest = new Map<string, Item>();
    for (const [roomId, ofRoom] of Map.groupBy(events, (event) => event.room_id)) {
      const item = itemsFrom(ofRoom, stores)[0];
      if (item !== undefined) latest.set(roomId, item);
    }
    for (const row of queue.newestOf(rows.map((room) => room.room_id)))
      latest.set(row.room_id, itemFromQueue(row, me, undefined));
    return latest;
  };

  const backup = createBackup({
    me,
    http,
    store: createBackupStore(db),
    crypto,
    emit,
    nowMs,
    rooms: () => {
      const last = account.meta("last_room");
      return [...(last === undefined ? [] : [last]), ...rooms.list(undefined).map((row) => row.room_id)];
    },
    roomsKnown: async () => {
      if (account.syncToken() === undefined) await loop.syncNow(undefined).catch(() => undefined);
    },
    inPieces: cryptoDatabase.inPieces,
    decryptWorker,
    opened: undecryptable.backupOpened,
    lookedFor: undecryptable.lookedFor,
  });
  features.push(backup.feature);
  const salvage = createSalvage({
    store: salvageStore,
    crypto,
    inPieces: cryptoDatabase.inPieces,
    halt: () => Promise.allSettled([sendQueue.stop(), loop.stop()]),
    barrier: () => cryptoDatabase.barrier(),
  });
  features.push(salvage.feature);

  const identity = createIdentityHandlers({
    me,
    http,
    store: createIdentityStore(db),
    rescued: createRescuedSecrets(db),
    backupChanged: backup.changed,
    crypto,
    emit,
    nowMs,
    encryptedRooms: () => rooms.list(undefined).flatMap((row) => (row.encryption === null ? [] : [row.room_id])),
  });
  features.push(identity.feature);

  const roomsHandlers = createRoomsHandlers({
    me,
    db,
    http,
    rooms,
    account,
    loadMembers,
    changeAccountData: accountData.change,
    history: historySharing,
    syncNow: loop.syncNow,
    list: (roomIds) =>
      roomList({ rooms, me, latestOf, isMuted: (roomId) => pushRules?.isMuted(roomId) ?? false }, roomIds),
    changed: tellRooms,
    trustIn: trust.pins.trustIn,
  });
  const sendToRoom = createRoomSender({
    http,
    rooms,
    fresh: loop.fresh,
    encrypt,
    recipients: (roomId) => trust.handlers["trust.recipients"]({ roomId }),
  });
  const ignored = (userId: string): boolean =>
    object(account.accountData("m.ignored_user_list")?.["ignored_users"])?.[userId] !== undefined;
  const invites = createInvites({
    me,
    deviceId: session.deviceId,
    http,
    db,
    rooms,
    crypto,
    commands: roomsHandlers,
    changeAccountData: accountData.change,
    hasQueued: (roomId) => queue.newestOf([roomId]).length > 0,
    syncNow: loop.syncNow,
    trust: {
      ignored,
      verifiedKey: (userId) => {
        const { identity, fingerprint } = trust.pins.trustOf(userId);
        return identity === "verified" ? fingerprint : undefined;
      },
      onceVerifiedKey: (userId) => trustStore.pin(userId)?.verified ?? undefined,
      setSendBlock: trust.setSendBlock,
      verified: trust.pins.verified,
    },
    emit,
    nowMs,
  });
  features.push(invites.feature);
  const verification = createVerification({
    me,
    deviceId: session.deviceId,
    http,
    store: createVerificationStore(db),
    emit: (event, payload) => {
      emit(event, payload);
      trust.heard(event, payload);
    },
    ignored,
    sendToRoom,
    rows: ingest.rowsOf,
    nowMs,
  });
  features.push(verification.feature);

  const handlers: AccountHandlers = {
    ...identity.handlers,
    ...trust.handlers,
    ...createDevicesHandlers({
      me,
      deviceId: session.deviceId,
      http,
      store: trustStore,
      facts: deviceFacts,
      crypto,
      devices: trust.devices,
      isVerified: (user) => trust.pins.standing(user) === "verified",
      emit,
      nowMs,
    }),
    ...createAccountHandlers({ http, loop, crypto, roomsNotBackedUp: cryptoDatabase.roomsNotBackedUp }),
    ...backup.handlers,
    ...salvage.handlers,
    ...createDeviceKeysHandlers(deviceKeys),
    ...invites.handlers,
    ...roomsHandlers,
    ...createVerificationHandlers({
      me,
      deviceId: session.deviceId,
      verification,
      directRoom: directRoom({
        rooms,
        create: async (userId) => (await roomsHandlers["rooms.create"]({ kind: "dm", invite: [userId] })).roomId,
      }),
      sendToRoom,
      newTransactionId: () => `v${randomBytes(15).toString("base64url")}`,
      nowMs,
    }),
    ...createTimelineHandlers({
      me,
      http,
      rooms,
      timeline,
      queue,
      sendQueue,
      history,
      ingest,
      crypto,
      syncNow: loop.syncNow,
      emit,
      markRead: readMarkers.mark,
      newTransactionId: () => `r${randomBytes(15).toString("base64url")}`,
      shieldNow: trust.shields.now,
    }),
  };

  const run = () => {
    startCrypto().catch((error: unknown) => {
      log.error("crypto could not start", error);
      cryptoStarted.reject(error);
    });
    void learnServer().finally(() => {
      if (!stopping) loop.start();
    });
    // what waits goes out as soon as a sync has completed
    sendQueue.wakeAll();
  };

  /** What the server can do and who we are to it, remembered for a start without it. */
  const learnServer = async () => {
    void learnOwnName();
    if (account.meta("state_after") !== undefined) return;
    const answer = object(
      await http.request("GET", "/_matrix/client/versions", { timeoutMs: 10_000 }).catch(() => undefined),
    );
    if (answer === undefined || stopping) return;
    const features = object(answer["unstable_features"]);
    const stateAfter = features?.["org.matrix.msc4222"] === true || texts(answer["versions"]).includes("v1.16");
    account.setMeta("state_after", stateAfter ? "1" : "0");
    if (account.syncToken() === undefined && features?.["org.matrix.simplified_msc3575"] === true)
      void showFirstRooms();
  };

  const showFirstRooms = async () => {
    const found = await fetchFirstRooms({ db, http, account, rooms, me }).catch((error: unknown) => {
      log.info(`the newest rooms could not be had first: ${toFailure(error).code}`);
      return [];
    });
    if (!stopping) tellRooms(found);
  };

  const learnOwnName = async () => {
    const path = `/_matrix/client/v3/profile/${encodeURIComponent(me)}/displayname`;
    const answer = await http.request("GET", path, { timeoutMs: 10_000 }).catch(() => undefined);
    const name = text(object(answer)?.["displayname"]);
    if (stopping || name === undefined || name === account.meta("own_name")) return;
    account.setMeta("own_name", name.slice(0, 255));
    statusChanged();
  };

  const stop = async () => {
    stopping = true;
    cryptoStarted.reject(new CoreError("cancelled"));
    gapFiller.stop();
    await Promise.allSettled(features.map((feature) => Promise.resolve(feature.stop?.())));
    await Promise.allSettled([sendQueue.stop(), loop.stop()]);
    await http.close();
    await cryptoDatabase.close();
    db.close();
  };

  return { handlers, status, run, stop };
}

/** Source: client-server API, "m.room.power_levels", `notifications`. */
function mayNotifyRoom(rooms: ReturnType<typeof createRoomStore>, roomId: string, userId: string): boolean {
  const content = rooms.state(roomId, "m.room.power_levels")?.content ?? {};
  const number = (value: unknown, fallback: number) => (typeof value === "number" ? value : fallback);
  const users = content["users"] as Record<string, unknown> | undefined;
  const notifications = content["notifications"] as Record<string, unknown> | undefined;
  return number(users?.[userId], number(content["users_default"], 0)) >= number(notifications?.["room"], 50);
}
