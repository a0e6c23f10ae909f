import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { DeviceKeysStatus } from "../../../preload/contract/device-keys.ts";
import { createDeviceKeys } from "../../../main/core/features/device-keys/device-keys.ts";
import { blankHistory } from "../../../main/core/features/device-keys/history.ts";
import { startCrypto } from "../../../main/core/matrix/client.ts";
import { createHttp } from "../../../main/core/matrix/http.ts";
import { createAccountStore } from "../../../main/core/storage/account-store.ts";
import { openCryptoDatabase } from "../../../main/core/storage/crypto-database.ts";
import { openAccountDatabase } from "../../../main/core/storage/database.ts";
import { createDeviceKeysStore } from "../../../main/core/storage/device-keys-store.ts";
import { poll } from "../../../main/core/sync/v2.ts";
import type { Account } from "../../homeserver/homeserver.ts";

export const hourMs = 3_600_000;
export const dayMs = 24 * hourMs;

/** A clock that stands still until it is moved. Rust crypto's own goes on beside it. */
export const newClock = () => ({ nowMs: Date.now() });
export type TestClock = ReturnType<typeof newClock>;
export type Device = Awaited<ReturnType<typeof startDevice>>;

const folders: string[] = [];
const open = new Set<() => Promise<void>>();
export async function endDevices(): Promise<void> {
  for (const end of open) await end();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}

export function deviceFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-device-"));
  folders.push(folder);
  return folder;
}

/**
 * A device's keys over the real stores, the real crypto and a real homeserver; only the clock, and when it syncs, are the test's.
 * A second one on the same folder, after `kill`, is a restart.
 */
export async function startDevice(
  account: Account,
  homeserver: string,
  { folder = deviceFolder(), clock = newClock() }: { folder?: string; clock?: TestClock } = {},
) {
  const db = openAccountDatabase(path.join(folder, "account.db"), new Uint8Array(32).fill(3), false);
  const cryptoDatabase = openCryptoDatabase(folder, new Uint8Array(32).fill(4), false);
  const store = createAccountStore(db);
  const http = createHttp({
    homeserver,
    accessToken: account.accessToken,
    proxy: {},
    barrier: () => cryptoDatabase.barrier(),
  });
  const told: DeviceKeysStatus[] = [];
  let listener: (status: DeviceKeysStatus) => void = () => undefined;
  const pathOf = (type: string) =>
    `/_matrix/client/v3/user/${encodeURIComponent(account.userId)}/account_data/${encodeURIComponent(type)}`;
  const deviceKeys = createDeviceKeys({
    http,
    store: createDeviceKeysStore(db, blankHistory),
    me: account.userId,
    deviceId: account.deviceId,
    emit: (event, payload) => {
      if (event !== "deviceKeys.changed" || !("status" in payload)) return;
      const status = payload.status as DeviceKeysStatus;
      told.push(status);
      listener(status);
    },
    nowMs: () => clock.nowMs,
    setAccountData: (type, content) => http.request("PUT", pathOf(type), { body: content }),
    isFirstSync: () => store.syncToken() === undefined,
  });
  const crypto = await startCrypto(
    { userId: account.userId, deviceId: account.deviceId, homeserver, accessToken: account.accessToken },
    http,
    cryptoDatabase,
  );
  await deviceKeys.cryptoStarted(crypto);
  const never = new AbortController().signal;

  const asked = (timeoutMs: number, signal: AbortSignal) => {
    deviceKeys.polls(store.syncToken(), timeoutMs);
    return poll(http, { since: store.syncToken(), timeoutMs, stateAfter: false, signal });
  };
  /** One turn of the loop, without waiting for news. `between`: after the server answered. */
  const sync = async (between: () => void | Promise<void> = () => undefined, timeoutMs = 0) => {
    const batch = await asked(timeoutMs, never);
    await between();
    await deviceKeys.receive(crypto, batch);
    store.setSyncToken(batch.nextBatch);
    await crypto.processOutgoing();
    // an answer may have made a further upload necessary
    await crypto.processOutgoing();
    deviceKeys.synced();
    return batch;
  };
  const end = async () => {
    open.delete(end);
    deviceKeys.stop();
    await http.close();
    await cryptoDatabase.close();
    db.close();
  };
  open.add(end);
  return {
    account,
    folder,
    clock,
    crypto,
    http,
    deviceKeys,
    told,
    sync,
    /** A long poll that is ended before it was answered, as the loop does where somebody wants to know at once. */
    abandonPoll: async (timeoutMs: number, arrived: () => Promise<unknown>) => {
      const ending = new AbortController();
      const answer = asked(timeoutMs, ending.signal).catch(() => undefined);
      await arrived();
      ending.abort();
      await answer;
    },
    status: deviceKeys.status,
    /** All but that of the clock, which is the test's. */
    problems: () =>
      deviceKeys
        .status()
        .problems.map((problem) => problem.code)
        .filter((code) => code !== "clock-skew"),
    kinds: () => deviceKeys.status().log.map((row) => row.kind),
    onStatus: (next: typeof listener) => {
      listener = next;
    },
    /** Without a word to the server. */
    end,
  };
}
