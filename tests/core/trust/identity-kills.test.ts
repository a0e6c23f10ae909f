import path from "node:path";
import { expect, test } from "vitest";
import { openAccountDatabase } from "../../../main/core/storage/database.ts";
import { createIdentityStore } from "../../../main/core/storage/identity-store.ts";
import type { Exchange, Match } from "../../homeserver/fault-proxy.ts";
import { databaseKey, sameAs, startCore } from "../core.ts";
import { eventually, useHomeserver, type Person } from "../people.ts";
import { accountOnServer, publicHalf } from "./account-on-server.ts";

/** Set-up and reset, interrupted at each request that changes something on the server, and finished by the next call. */
const people = useHomeserver();
const byKey = { kind: "key" } as const;
const onServer = (person: Person) => accountOnServer(people.server(), person.account);

const changes = {
  "the public keys": { method: "POST", path: /\/keys\/device_signing\/upload$/ },
  "the device's signature": { method: "POST", path: /\/keys\/signatures\/upload$/ },
  "the backup's version": { method: "POST", path: /\/room_keys\/version$/ },
  "the key's description": { method: "PUT", path: /account_data\/m\.secret_storage\.key\./ },
  "the master key": { method: "PUT", path: /account_data\/m\.cross_signing\.master$/ },
  "the self-signing key": { method: "PUT", path: /account_data\/m\.cross_signing\.self_signing$/ },
  "the user-signing key": { method: "PUT", path: /account_data\/m\.cross_signing\.user_signing$/ },
  "the backup's key": { method: "PUT", path: /account_data\/m\.megolm_backup\.v1$/ },
  "the default key": { method: "PUT", path: /account_data\/m\.secret_storage\.default_key$/ },
};
const moments = Object.entries(changes).flatMap(([what, match]) => [
  { what, match, when: "before the server has it" as const },
  { what, match, when: "before the answer is here" as const },
]);
const bodyOf = (exchange: Exchange) => JSON.parse(exchange.requestBody.toString() || "{}") as Record<string, unknown>;
const masterOf = (body: Record<string, unknown>) =>
  Object.values((body["master_key"] as { keys: Record<string, string> } | undefined)?.keys ?? {})[0];

/** Kills the core at that request, and starts it again. */
async function killedAt(person: Person, moment: { when: string; match: Match }, call: () => Promise<unknown>) {
  const before = moment.when === "before the server has it";
  const from = person.proxy.seen(moment.match).length;
  const rule = person.proxy.on(moment.match, { kind: before ? "hold" : "drop-response" });
  const interrupted = call();
  await eventually(
    () => person.proxy.seen(moment.match).slice(from),
    (seen) => rule.used > 0 && (before || seen.some((one) => one.outcome === "answer-dropped")),
  );
  await person.core.kill();
  await interrupted;
  rule.remove();
  return await startCore(sameAs(person.core));
}

/** All moments with full counts, every third otherwise. */
function some<T>(all: T[]): T[] {
  return all.filter((_, at) => process.env["TESSERA_FULL"] === "1" || at % 3 === 0);
}

test("a set-up changes nothing but what is interrupted below", async () => {
  const alice = await people.person("alice");
  const from = alice.proxy.exchanges.length;
  await alice.core.ok("trust.setUp", { recovery: byKey });
  const others = alice.proxy.exchanges
    .slice(from)
    .filter((one) => one.method !== "GET" && !/\/keys\/(query|upload)$|\/room_keys\/keys/.test(one.path))
    // each run leaves its mark, whenever that comes
    .filter((one) => !decodeURIComponent(one.path).includes("/account_data/chat.tessera.device_run."))
    .filter(
      (one) => !Object.values(changes).some(({ method, path: of }) => one.method === method && of.test(one.path)),
    );
  expect(others.map((one) => one.path)).toEqual([]);
});

test.each(some(moments))("a set-up killed at $what, $when, is finished with one identity", async (moment) => {
  const alice = await people.person("alice");
  const again = await killedAt(alice, moment, () => alice.core.call("trust.setUp", { recovery: byKey }));
  expect((await again.ok("trust.status", {})).problems).toContain("set-up-unfinished");
  const { recoveryKey } = await again.ok("trust.setUp", { password: alice.account.password, recovery: byKey });
  await onServer(alice).expectWhole(recoveryKey);
  expect((await onServer(alice).backup())?.version).toBe("1");
  const uploads = alice.proxy.seen(changes["the public keys"]).map((one) => masterOf(bodyOf(one)));
  expect(new Set(uploads.filter((key) => key !== undefined)).size).toBe(1);
  const described = alice.proxy.seen(changes["the key's description"]).map((one) => one.path);
  expect(new Set(described).size).toBe(1);
  expect(await again.ok("trust.status", {})).toMatchObject({ identity: "verified", recovery: "ready", problems: [] });
  await again.stop();
});

/** To replace keys the server wants the password: the request that counts is the one that bears it. */
const confirmed = moments.map((moment) =>
  moment.what === "the public keys"
    ? { ...moment, match: { ...moment.match, when: (exchange: Exchange) => "auth" in bodyOf(exchange) } }
    : moment,
);

test.each(some(confirmed))("a reset killed at $what, $when, is finished, and the old backup stays", async (moment) => {
  const alice = await people.person("alice");
  const first = await alice.core.ok("trust.setUp", { recovery: byKey });
  const old = await onServer(alice).keys();
  const oldSeed = await onServer(alice).secret("m.cross_signing.master", first.recoveryKey);
  alice.proxy.exchanges.length = 0;
  const { password } = alice.account;
  const again = await killedAt(alice, moment, () => alice.core.call("trust.reset", { password, keepHistory: true }));
  expect((await again.ok("trust.status", {})).problems).toContain("reset-unfinished");
  const { recoveryKey } = await again.ok("trust.reset", { password, keepHistory: true });
  await onServer(alice).expectWhole(recoveryKey);
  const now = await onServer(alice).keys();
  for (const name of ["master", "selfSigning", "userSigning"] as const) expect(now[name]).not.toBe(old[name]);
  expect((await onServer(alice).backup())?.version).toBe("2");
  const uploads = alice.proxy.seen(changes["the public keys"]).map((one) => masterOf(bodyOf(one)));
  expect(new Set(uploads.filter((key) => key !== undefined)).size).toBe(1);
  expect(await again.ok("trust.status", {})).toMatchObject({ identity: "verified", recovery: "ready", problems: [] });
  await again.stop();
  // what the old identity opened can be opened still
  const db = openAccountDatabase(
    path.join(alice.core.folder, "account.db"),
    databaseKey(alice.core.session, "account"),
    false,
  );
  const kept = createIdentityStore(db).salvage();
  db.close();
  expect(kept).toHaveLength(1);
  expect(kept[0]).toMatchObject({
    kind: "before-reset",
    content: { identity: { master: publicHalf(oldSeed) }, seeds: { master: oldSeed }, backup: { version: "1" } },
  });
});

test.each(["drop", "drop-response"] as const)(
  "a network that loses each request once (%s) delays a set-up and changes nothing of it",
  async (kind) => {
    const alice = await people.person("alice");
    const lost = new Map<string, number>();
    const once = (exchange: Exchange) => {
      if (exchange.path.endsWith("/sync")) return false;
      const name = `${exchange.method} ${exchange.path}`;
      if (!lost.has(name)) lost.set(name, exchange.n);
      return lost.get(name) === exchange.n;
    };
    alice.proxy.on({ when: once }, { kind });
    const recoveryKey = await alice.core.until(async () => {
      const answer = await alice.core.call("trust.setUp", { password: alice.account.password, recovery: byKey });
      if (!answer.ok) expect(answer.error).toMatchObject({ code: "unreachable", retryable: true });
      return answer.ok && answer.value.recoveryKey;
    }, "a set-up");
    await onServer(alice).expectWhole(recoveryKey);
    expect((await onServer(alice).backup())?.version).toBe("1");
    const uploads = alice.proxy.seen(changes["the public keys"]).map((one) => masterOf(bodyOf(one)));
    expect(new Set(uploads.filter((key) => key !== undefined)).size).toBe(1);
  },
);

test("row 18: a server that stores the master key and then fails gets the rest, and the reset is whole", async () => {
  const alice = await people.person("alice");
  await alice.core.ok("trust.setUp", { recovery: byKey });
  const before = await onServer(alice).keys();
  const upload = changes["the public keys"];
  const whole = (exchange: Exchange) => "master_key" in bodyOf(exchange);
  const half = alice.proxy.on(
    { ...upload, when: whole },
    {
      kind: "rewrite-request",
      json: (body) => ({ ...(body as object), self_signing_key: undefined, user_signing_key: undefined }),
    },
  );
  const failing = alice.proxy.on(
    { ...upload, when: (exchange) => whole(exchange) && "auth" in bodyOf(exchange) },
    { kind: "rewrite-response", status: 500, json: () => ({ errcode: "M_UNKNOWN" }) },
  );
  const { recoveryKey } = await alice.core.ok("trust.reset", { password: alice.account.password, keepHistory: true });
  expect([half.used > 0, failing.used]).toEqual([true, 1]);
  await onServer(alice).expectWhole(recoveryKey);
  expect((await onServer(alice).keys()).master).not.toBe(before.master);
});

test("row 18: a server that stores all of it and answers 500 is believed by what it shows", async () => {
  const alice = await people.person("alice");
  alice.proxy.on(changes["the public keys"], { kind: "rewrite-response", status: 500, json: () => ({}) }, { times: 1 });
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  await onServer(alice).expectWhole(recoveryKey);
  const uploads = alice.proxy.seen(changes["the public keys"]).map((one) => masterOf(bodyOf(one)));
  expect(new Set(uploads).size).toBe(1);
});

test("row 18: keys that a server goes on refusing with 500 are replaced by fresh ones", async () => {
  const alice = await people.person("alice");
  alice.proxy.on(changes["the public keys"], { kind: "status", status: 500, body: {} }, { times: 2 });
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  await onServer(alice).expectWhole(recoveryKey);
  const uploads = alice.proxy.seen(changes["the public keys"]).map((one) => masterOf(bodyOf(one)));
  expect(uploads).toHaveLength(3);
  expect(new Set(uploads).size).toBe(2);
});

test("a set-up whose confirmation was refused leaves no trace on the server, and another device may set up", async () => {
  const alice = await people.person("alice");
  const refused = {
    kind: "status",
    status: 401,
    body: { session: "s", flows: [{ stages: ["m.login.password"] }] },
  } as const;
  const rule = alice.proxy.on(changes["the public keys"], refused);
  expect(await alice.core.call("trust.setUp", { recovery: byKey })).toMatchObject({
    ok: false,
    error: { code: "authentication-required", details: { flows: [["m.login.password"]] } },
  });
  expect(await onServer(alice).defaultKey()).toBeUndefined();
  expect(await onServer(alice).backup()).toBeUndefined();
  rule.remove();
  const other = await people.person("alice", await people.server().login(alice.account));
  const { recoveryKey } = await other.core.ok("trust.setUp", { recovery: byKey });
  expect(await alice.core.call("trust.setUp", { recovery: byKey })).toMatchObject({
    ok: false,
    error: { code: "conflict" },
  });
  await onServer(other).expectWhole(recoveryKey);
  expect(await alice.core.ok("trust.recover", { recoveryKey })).toEqual({ missing: [] });
  expect((await alice.core.ok("trust.status", {})).problems).toEqual([]);
});
