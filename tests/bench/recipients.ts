import * as sdk from "@matrix-org/matrix-sdk-crypto-wasm";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { openCryptoStore } from "../../main/core/storage/crypto-store/index.ts";
import { endCores, sessionOf, startCore } from "../core/core.ts";
import { MadeUpPerson, tellOf } from "../core/trust/made-up-keys.ts";
import { startFaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver } from "../homeserver/homeserver.ts";
import { atMost, quantile, rounded, spread, type BenchResult } from "./result.ts";

const members = 1000;
const warmLooks = 30;
const shares = 9;

type Json = Record<string, unknown>;

const madeUp = (server: string) =>
  Array.from({ length: members }, (_, n) => {
    const person = new MadeUpPerson(`@made-up-${n}:${server}`);
    person.newIdentity();
    person.addDevice();
    return person;
  });

/** The whole command, over a room of a thousand whose server makes them up. */
async function looks(): Promise<{ coldMs: number; warmMs: number[] }> {
  const homeserver = await startHomeserver();
  const proxy = await startFaultProxy(homeserver.url, { recordBytes: 64 * 1024 * 1024 });
  try {
    const account = await homeserver.register("looker");
    const people = madeUp(homeserver.serverName);
    tellOf(proxy, () => people);
    proxy.on(
      { method: "GET", path: /\/rooms\/[^/]+\/state$/ },
      {
        kind: "rewrite-response",
        json: (body) => [
          ...(body as Json[]),
          ...people.map(({ userId }) => ({
            type: "m.room.member",
            state_key: userId,
            sender: userId,
            content: { membership: "join" },
          })),
        ],
      },
    );
    const core = await startCore({ session: sessionOf(account, homeserver.url), via: proxy.url });
    await core.sync();
    await core.ok("trust.setUp", { password: account.password, recovery: { kind: "key" } });
    const { roomId } = await core.ok("rooms.create", { kind: "group" });
    const timed = async () => {
      const fromMs = performance.now();
      const { receives } = await core.ok("trust.recipients", { roomId });
      const tookMs = performance.now() - fromMs;
      if (receives.length !== members) throw new Error(`Only ${receives.length} recipients were told.`);
      return tookMs;
    };
    const coldMs = await timed();
    const warmMs: number[] = [];
    for (let n = 0; n < warmLooks; n++) warmMs.push(await timed());
    return { coldMs, warmMs };
  } finally {
    await endCores();
    await proxy.stop();
    await homeserver.stop();
  }
}

/** The machine alone: one room key for a thousand devices, over our store or Rust's memory. */
async function sharer(folder: string | undefined, people: MadeUpPerson[]) {
  const store =
    folder === undefined
      ? undefined
      : openCryptoStore({ file: path.join(folder, "crypto.db"), key: new Uint8Array(32).fill(9) });
  if (store !== undefined) Object.assign(globalThis, store.globals);
  const machine = await sdk.OlmMachine.initialize(
    new sdk.UserId("@sharer:tessera.example"),
    new sdk.DeviceId("SHARER"),
    ...(store === undefined ? [] : ["recipients"]),
  );
  const users = () => people.map(({ userId }) => new sdk.UserId(userId));
  const query = machine.queryKeysForUsers(users());
  await machine.updateTrackedUsers(users());
  const keys: Json = {};
  for (const person of people) person.addTo(keys);
  await machine.markRequestAsSent(query.id, query.type, JSON.stringify(keys));
  const claim = await machine.getMissingSessions(users());
  if (claim === null) throw new Error("No session was missing.");
  const oneTimeKeys = Object.fromEntries(
    people.map(({ userId, devices }) => [
      userId,
      Object.fromEntries([...devices].map(([id, { oneTimeKey }]) => [id, oneTimeKey?.()])),
    ]),
  );
  await machine.markRequestAsSent(claim.id, claim.type, JSON.stringify({ one_time_keys: oneTimeKeys, failures: {} }));
  const room = () => new sdk.RoomId("!bench:tessera.example");
  const share = async (): Promise<number> => {
    const settings = new sdk.EncryptionSettings();
    settings.sharingStrategy = sdk.CollectStrategy.allDevices();
    const fromMs = performance.now();
    const requests = await machine.shareRoomKey(room(), users(), settings);
    for (const request of requests) await machine.markRequestAsSent(request.id, request.type, "{}");
    const tookMs = performance.now() - fromMs;
    const sentTo = requests
      .filter((request) => request.event_type === "m.room.encrypted")
      .reduce((sum, { body }) => sum + Object.keys((JSON.parse(body) as { messages: Json }).messages).length, 0);
    if (sentTo !== members) throw new Error(`The key went to ${sentTo} devices.`);
    await machine.invalidateGroupSession(room());
    return tookMs;
  };
  return {
    share,
    close: () => {
      machine.close();
      store?.close();
    },
  };
}

export async function bench(): Promise<BenchResult> {
  const { coldMs, warmMs } = await looks();
  await sdk.initAsync();
  const people = madeUp("tessera.example");
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-recipients-"));
  try {
    const [overOurs, overMemory] = [await sharer(folder, people), await sharer(undefined, people)];
    const ours: number[] = [];
    const memory: number[] = [];
    // in turns, so that whatever else the machine does falls on both
    for (let n = 0; n < shares; n++) {
      ours.push(await overOurs.share());
      memory.push(await overMemory.share());
    }
    overOurs.close();
    overMemory.close();
    const ratio = quantile(ours, 0.5) / quantile(memory, 0.5);
    return {
      name: "recipients",
      rows: [
        { what: `trust.recipients of ${members} members, cold`, "p50 ms": rounded(coldMs) },
        spread(`trust.recipients of ${members} members, warm`, warmMs),
        spread(`room key to ${members} devices, our store`, ours),
        spread(`room key to ${members} devices, Rust's memory store`, memory),
      ],
      targets: [
        atMost(`trust.recipients of ${members} members, warm, p95`, quantile(warmMs, 0.95), 100, "ms"),
        atMost(`room key to ${members} devices against the memory store, p50`, ratio, 1.5, "×"),
      ],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
