import { randomBytes } from "node:crypto";
import path from "node:path";
import type { AccountStatus, SignedIn, SyncState } from "../../preload/contract/account.ts";
import type { Emit, Events } from "../../preload/contract/index.ts";
import type { Item } from "../../preload/contract/timeline.ts";
import type { AccountHandlers } from "./dispatch.ts";
import { CoreError, toFailure } from "./errors.ts";
import { createAccountHandlers } from "./features/account/handlers.ts";
import { createRoomsHandlers } from "./features/rooms/handlers.ts";
import { roomList } from "./features/rooms/room-list.ts";
import { createTimelineHandlers } from "./features/timeline/handlers.ts";
import { createHistory } from "./features/timeline/history.ts";
import { createIngest } from "./features/timeline/ingest.ts";
import { itemFromQueue, itemsFrom } from "./features/timeline/items.ts";
import { createReadMarkers } from "./features/timeline/read-markers.ts";
import { createSendQueue } from "./features/timeline/send-queue.ts";
import { object, text, texts } from "./json.ts";
import { log } from "./log.ts";
import type { Crypto } from "./matrix/crypto.ts";
import { createHttp } from "./matrix/http.ts";
import type { PushRules } from "./matrix/push-rules.ts";
import type { Touched } from "./room-event.ts";
import { createAccountStore } from "./storage/account-store.ts";
import { openAccountDatabase } from "./storage/database.ts";
import { openCryptoDatabase } from "./storage/crypto-database.ts";
import { createQueueStore } from "./storage/queue-store.ts";
import { createRoomStore, type RoomRow } from "./storage/room-store.ts";
import { createTimelineStore } from "./storage/timeline-store.ts";
import { applyBatch, refresh, type Applied } from "./sync/apply.ts";
import { roomEvent } from "./sync/batch.ts";
import { createEncrypt } from "./sync/encrypt.ts";
import { fetchFirstRooms } from "./sync/first-rooms.ts";
import { createGapFiller } from "./sync/gap-filler.ts";
import { createSyncLoop } from "./sync/loop.ts";
import { createMemberLoader } from "./sync/members.ts";
import { poll } from "./sync/v2.ts";
import type { WorkerStart } from "./worker-port.ts";

type AccountStart = Extract<WorkerStart, { kind: "account" }>;
export type Session = {
  handlers: AccountHandlers;
  status: () => SignedIn;
  /** Starts crypto, the sync loop and the send queue, once the store answers calls. */
  run: () => void;
  stop: () => Promise<void>;
};

/** Builds one account: storage, client, features, and the wires between them. Longer than most: it is the one place that knows all parts. */
export function startSession(start: AccountStart, send: (event: string, payload: unknown) => void): Promise<Session> {
  const { session } = start;
  const me = session.userId;
  const nowMs = () => Date.now();
  const db = openAccountDatabase(path.join(start.folder, "account.db"), start.keys.account, !start.lastStopOrderly);
  const account = createAccountStore(db);
  const rooms = createRoomStore(db, me);
  const timeline = createTimelineStore(db);
  const queue = createQueueStore(db);
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

  let pushRules: PushRules | undefined;
  let stopping = false;
  const cryptoStarted = Promise.withResolvers<Crypto>();
  // whoever awaits it sees the failure; nobody may be waiting
  cryptoStarted.promise.catch(() => undefined);
  let cryptoNow = cryptoStarted.promise;
  const crypto = () => cryptoNow;

  const stores = { rooms, timeline, me };
  const ingest = createIngest({
    db,
    timeline,
    queue,
    me,
    nowMs,
    evaluate: (roomId, event) => pushRules?.evaluate(roomId, event) ?? 1,
  });
  const history = createHistory({ db, http, rooms, timeline, ingest, crypto, readEvent: roomEvent });
  const loadMembers = createMemberLoader({ db, http, rooms, account });

  const tellItems = (roomId: string, touched: Touched, gap: boolean) => {
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
        cryptoBarrier: () => cryptoDatabase.barrier(),
        me,
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

  const sendQueue = createSendQueue({
    db,
    queue,
    rooms,
    http,
    fresh: loop.fresh,
    encrypt: createEncrypt({ rooms, loadMembers, crypto }),
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
    sendQueue.wakeAll();
    if (!keysChecked) void checkDeviceKeys();
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
    const core = await client.startCrypto(session, http, cryptoDatabase.globals);
    core.onKeys((keys) => {
      onKeys(core, keys).catch((error: unknown) => {
        log.error("rows of a late key could not be decrypted", error);
      });
    });
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

  const handlers: AccountHandlers = {
    ...createAccountHandlers({ http, loop, crypto }),
    ...createRoomsHandlers({
      me,
      db,
      http,
      rooms,
      account,
      loadMembers,
      syncNow: loop.syncNow,
      list: (roomIds) =>
        roomList({ rooms, me, latestOf, isMuted: (roomId) => pushRules?.isMuted(roomId) ?? false }, roomIds),
      changed: tellRooms,
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
      emit,
      markRead: readMarkers.mark,
      newTransactionId: () => `r${randomBytes(15).toString("base64url")}`,
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
    await Promise.allSettled([sendQueue.stop(), loop.stop()]);
    await http.close();
    await cryptoDatabase.close();
    db.close();
  };

  return Promise.resolve({ handlers, status, run, stop });
}

/** Source: client-server API, "m.room.power_levels", `notifications`. */
function mayNotifyRoom(rooms: ReturnType<typeof createRoomStore>, roomId: string, userId: string): boolean {
  const content = rooms.state(roomId, "m.room.power_levels")?.content ?? {};
  const number = (value: unknown, fallback: number) => (typeof value === "number" ? value : fallback);
  const users = content["users"] as Record<string, unknown> | undefined;
  const notifications = content["notifications"] as Record<string, unknown> | undefined;
  return number(users?.[userId], number(content["users_default"], 0)) >= number(notifications?.["room"], 50);
}
