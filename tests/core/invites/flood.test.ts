import { randomBytes } from "node:crypto";
import { expect, test, vi } from "vitest";
import { messageTypes, toBase64 } from "../../../main/core/features/invites/messages.ts";
import type { Json } from "../../../main/core/json.ts";
import type { Exchange } from "../../homeserver/fault-proxy.ts";
import { forgedHello } from "../../unit/invites/wire.ts";
import { holdSync, isSync } from "../people.ts";
import { codeHolder, isOpen, isQuery } from "./code-holder.ts";
import { code, dropped, expectContacts, join, useInviting } from "./inviting.ts";

vi.setConfig({ testTimeout: 600_000, hookTimeout: 300_000 });
const { people, someone, twoDevices } = useInviting();

const [bad, good] = process.env["TESSERA_FULL"] === "1" ? [10_000, 500] : [1000, 50];
/** A server hands out so many to-device messages a sync at most. */
const fullBatch = 100;
/** So many that no server's bucket spares us work. */
const servers = 400;

test("scenario 31: many who hold the code prove at once with keys that are looked up for ever: two queries at a time, and a known guest comes in meanwhile", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), twoDevices("bob")]);
  const server = people.server();
  const forBob = await code(alice, "personal-link");
  await join(bob.laptop, forBob.link);
  const { link, tokenId } = await code(alice, "public");
  // more than the inbox lets out at a time
  const names = Array.from({ length: 14 }, (_, index) => `holder${index}`);
  const holders = await Promise.all(
    names.map(async (name) => {
      const account = await people.account(name);
      return { userId: account.userId, ...(await codeHolder(server, account, link)) };
    }),
  );
  const exchanges = await Promise.all(holders.map((holder) => holder.answered(alice.proxy)));
  const isTheirs = {
    ...isQuery,
    when: (one: Exchange) => holders.some(({ userId }) => one.requestBody.includes(userId)),
  };
  const held = alice.proxy.on(isTheirs, { kind: "hold" });
  // all of them in one answer, and behind them one that is judged without asking anybody
  const syncs = await holdSync(alice);
  for (const [index, holder] of holders.entries()) await holder.prove(exchanges[index] ?? raise());
  await holders[0]?.prove({ ...(exchanges[0] ?? raise()), na: randomBytes(16) });
  syncs.release();
  await alice.core.until(() => Promise.resolve(held.used >= 2), "two queries");
  await dropped(alice, "proof: nonce");
  expect((await join(bob.phone, forBob.link)).result).toBe("mutual");
  expect(mostAtOnce(alice.proxy.seen(isTheirs))).toBe(2);
  held.release();
  const asked = () => alice.proxy.seen(isTheirs).filter((one) => one.status === 200);
  await alice.core.until(
    () => Promise.resolve(holders.every(({ userId }) => asked().some((one) => one.requestBody.includes(userId)))),
    "all of them",
  );
  expect(mostAtOnce(alice.proxy.seen(isTheirs))).toBe(2);
  await dropped(alice, "proof: no identity");
  expect((await alice.core.ok("invites.list", {})).find((one) => one.tokenId === tokenId)?.uses).toEqual([]);
  for (const holder of holders) holder.close();
});

test(`scenario 31: ${bad} bad and ${good} good HELLOs of as many strangers: few answers, no key query, the owner is told, and a guest comes in`, async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, tokenId } = await code(alice, "public");
  const isToStranger = { ...isOpen, when: (one: Exchange) => one.requestBody.includes("@stranger-") };
  // their servers do not exist: nothing leaves this machine
  alice.proxy.on(isToStranger, { kind: "status", status: 200, body: {} });
  const waiting = hellos(link);
  alice.proxy.on(isSync, {
    kind: "rewrite-response",
    json: (body) => {
      const answer = body as { to_device?: { events?: unknown[] } };
      const events = answer.to_device?.events ?? [];
      return { ...answer, to_device: { events: [...events, ...waiting.splice(0, fullBatch - events.length)] } };
    },
  });
  const from = { logs: alice.core.logs.length, ms: performance.now() };
  let answered = 0;
  while (waiting.length > 0) {
    // each call is answered while the flood is on
    await alice.core.sync();
    await alice.core.ok("rooms.list", {});
    answered++;
  }
  expect(answered).toBeGreaterThan(1);
  const alarm = await alice.core.until(async () => (await alice.core.ok("invites.alarms", {}))[0], "the alarm");
  expect(alarm).toMatchObject({ kind: "flood", tokenId });
  await alice.core.nextEvent("invites.changed", ({ alarms }) => alarms?.some(({ kind }) => kind === "flood") === true);

  // somebody who was given another code is let in
  const guest = await code(alice, "show");
  expect((await join(bob, guest.link)).result).toBe("mutual");
  await expectContacts(alice, bob);
  // thirty new people an hour on one code
  expect(alice.proxy.seen(isToStranger).length).toBeGreaterThan(0);
  expect(alice.proxy.seen(isToStranger).length).toBeLessThanOrEqual(30);
  expect(alice.proxy.seen({ ...isQuery, when: (one) => one.requestBody.includes("@stranger-") })).toEqual([]);
  expect(mostAtOnce(alice.proxy.seen(isQuery))).toBeLessThanOrEqual(3);
  expect((await alice.core.ok("invites.list", {})).find((one) => one.tokenId === tokenId)?.uses).toEqual([]);
  // a gate that fails says so once a second at most
  const lines = alice.core.logs.slice(from.logs).filter((line) => line.text.includes("invites: dropped"));
  const gates = new Set(lines.map((line) => /dropped \(([^)]*)\)/.exec(line.text)?.[1]));
  expect(lines.length).toBeGreaterThan(0);
  expect(lines.length).toBeLessThanOrEqual(gates.size * ((performance.now() - from.ms) / 1000 + 1));
});

/** Nobody writes twice. Most are of the right shape and for no code of hers; each tenth is not even that. */
function hellos(link: string): Json[] {
  const all = bad + good;
  const every = all / good;
  return Array.from({ length: all }, (_, index) => {
    const sender = `@stranger-${index}:server-${index % servers}.test`;
    const { content } = forgedHello(link, sender, "*");
    const isGood = index % every < 1;
    if (!isGood) content["t"] = toBase64(randomBytes(16));
    if (!isGood && index % 10 === 0) content["n"] = "short";
    return { type: messageTypes.open, sender, content };
  });
}
/** The most of these that were under way at one time. */
function mostAtOnce(exchanges: Exchange[]): number {
  const changes = exchanges.flatMap(({ startedMs, endedMs }) => [
    { atMs: startedMs, by: 1 },
    { atMs: endedMs ?? Infinity, by: -1 },
  ]);
  let [now, most] = [0, 0];
  for (const { by } of changes.sort((a, b) => a.atMs - b.atMs || a.by - b.by)) most = Math.max(most, (now += by));
  return most;
}
function raise(): never {
  throw new Error("it is not there");
}
