import { expect, test } from "vitest";
import { sameAs, startCore } from "../core.ts";
import { eventually, useHomeserver, type Person } from "../people.ts";
import { accountOnServer } from "./account-on-server.ts";

const people = useHomeserver();
const byKey = { kind: "key" } as const;
const onServer = (person: { account: Parameters<typeof accountOnServer>[1] }) =>
  accountOnServer(people.server(), person.account);
const isPost = (path: RegExp) => ({ method: "POST", path });
const isSigningUpload = isPost(/\/keys\/device_signing\/upload$/);
/** The device has asked for the account's keys, which it does beside its first sync. */
const met = ({ core }: Person) =>
  core.until(
    async () => (await core.ok("trust.status", {})).identity === "this-device-unverified",
    "the identity of the account",
  );

test("set-up makes identity, recovery and backup, and each is on the server", async () => {
  const alice = await people.person("alice");
  expect(await alice.core.ok("trust.status", {})).toEqual({
    identity: "none",
    secrets: { master: false, selfSigning: false, userSigning: false, backup: false },
    recovery: "none",
    problems: [],
  });
  const { recoveryKey } = await alice.core.ok("trust.setUp", {
    password: alice.account.password,
    recovery: byKey,
  });
  expect(recoveryKey).toMatch(/^([1-9A-Za-z]{4} ){11}[1-9A-Za-z]{4}$/);
  expect(await alice.core.ok("trust.status", {})).toEqual({
    identity: "verified",
    secrets: { master: true, selfSigning: true, userSigning: true, backup: true },
    recovery: "ready",
    problems: [],
  });
  await onServer(alice).expectWhole(recoveryKey);
  await alice.core.nextEvent("trust.changed", ({ own }) => own === true);
});

test("an identity that is there is never replaced by a set-up, from this device or another", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  const { master } = await onServer(alice).keys();
  const other = await people.person("alice", await people.server().login(alice.account));
  for (const { core } of [alice, other])
    expect(await core.call("trust.setUp", { password: alice.account.password, recovery: byKey })).toMatchObject({
      ok: false,
      error: { code: "conflict" },
    });
  expect((await onServer(alice).keys()).master).toBe(master);
  await onServer(alice).expectWhole(recoveryKey);
});

test("two devices that set up at the same moment make one identity", async () => {
  const first = await people.person("twins");
  const second = await people.person("twins", await people.server().login(first.account));
  const input = { password: first.account.password, recovery: byKey };
  // both have seen that there is no identity before either publishes one
  const held = [first, second].map(({ proxy }) => proxy.on(isSigningUpload, { kind: "hold" }));
  const answers = [first, second].map(({ core }) => core.call("trust.setUp", input));
  await Promise.all([first, second].map(({ proxy }) => proxy.waitFor(isSigningUpload, { state: "arrived" })));
  for (const rule of held) rule.remove();
  const [won, lost] = (await Promise.all(answers)).sort((one, other) => Number(other.ok) - Number(one.ok));
  expect(lost).toMatchObject({ ok: false, error: { code: "conflict" } });
  if (won?.ok !== true) throw new Error("Neither device could set up.");
  const winner = (await first.core.ok("trust.status", {})).identity === "verified" ? first : second;
  await onServer(winner).expectWhole(won.value.recoveryKey);
  const loser = winner === first ? second : first;
  expect((await loser.core.ok("trust.recover", { recoveryKey: won.value.recoveryKey })).missing).toEqual([]);
});

test("without the password that the server wants: authentication-required with its flows, and nothing changed", async () => {
  const alice = await people.person("alice");
  await alice.core.ok("trust.setUp", { recovery: byKey });
  const before = await onServer(alice).keys();
  expect(await alice.core.call("trust.reset", { keepHistory: true })).toMatchObject({
    ok: false,
    error: { code: "authentication-required", details: { flows: [["m.login.password"]] } },
  });
  expect(await alice.core.call("trust.reset", { keepHistory: true, password: "not the password" })).toMatchObject({
    ok: false,
    error: { code: "forbidden" },
  });
  expect((await onServer(alice).keys()).master).toBe(before.master);
  const status = await alice.core.ok("trust.status", {});
  expect(status).toMatchObject({ identity: "verified", recovery: "ready", problems: [] });
  const { recoveryKey } = await alice.core.ok("trust.reset", {
    keepHistory: true,
    password: alice.account.password,
  });
  expect((await onServer(alice).keys()).master).not.toBe(before.master);
  await onServer(alice).expectWhole(recoveryKey);
});

test("a server that leaves authentication to its account page: the page's address for this action is told", async () => {
  const alice = await people.person("alice");
  alice.proxy.on(isSigningUpload, {
    kind: "status",
    status: 401,
    body: { session: "s", flows: [{ stages: ["m.oauth"] }], params: {} },
  });
  alice.proxy.on(
    { path: /\/auth_metadata$/ },
    {
      kind: "status",
      status: 200,
      body: { issuer: "https://id.example/", account_management_uri: "https://id.example/me?x=1" },
    },
  );
  expect(await alice.core.call("trust.setUp", { password: "whatever", recovery: byKey })).toMatchObject({
    ok: false,
    error: {
      code: "authentication-required",
      details: { flows: [["m.oauth"]], url: "https://id.example/me?x=1&action=org.matrix.cross_signing_reset" },
    },
  });
  expect(await onServer(alice).defaultKey()).toBeUndefined();
  // the person confirmed it there: the same set-up goes on
  alice.proxy.clear();
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  await onServer(alice).expectWhole(recoveryKey);
});

test("a page that is no web page is not handed on", async () => {
  const alice = await people.person("alice");
  alice.proxy.on(isSigningUpload, {
    kind: "status",
    status: 401,
    body: { flows: [{ stages: ["m.oauth"] }], params: { "m.oauth": { url: "file:///etc/passwd" } } },
  });
  const answer = await alice.core.call("trust.setUp", { recovery: byKey });
  expect(answer).toMatchObject({ ok: false, error: { code: "authentication-required" } });
  expect(JSON.stringify(answer)).not.toContain("file:");
});

test("a new device recovers with the recovery key, however it is typed, and is verified on the server", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  const other = await people.person("alice", await people.server().login(alice.account));
  await met(other);
  const typed = `  ${recoveryKey.replaceAll(" ", "\n").replaceAll("o", "0")} `;
  expect(await other.core.ok("trust.recover", { recoveryKey: typed })).toEqual({ missing: [] });
  expect(await other.core.ok("trust.status", {})).toEqual({
    identity: "verified",
    secrets: { master: true, selfSigning: true, userSigning: true, backup: true },
    recovery: "ready",
    problems: [],
  });
  const keys = await onServer(alice).keys();
  expect(keys.device(other.account.deviceId)?.signatures?.[alice.userId]).toHaveProperty(
    `ed25519:${keys.selfSigning ?? ""}`,
  );
});

test("a new device recovers with the passphrase, and a wrong one is told from a wrong key", async () => {
  const alice = await people.person("alice");
  const passphrase = "seven quiet otters";
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: { kind: "passphrase", passphrase } });
  await onServer(alice).expectWhole(recoveryKey);
  const other = await people.person("alice", await people.server().login(alice.account));
  expect(await other.core.call("trust.recover", { passphrase: "seven quiet badgers" })).toMatchObject({
    ok: false,
    error: { code: "wrong-key", details: { kind: "passphrase" } },
  });
  expect(await other.core.ok("trust.recover", { passphrase })).toEqual({ missing: [] });
  expect((await other.core.ok("trust.status", {})).identity).toBe("verified");
});

test("a mistyped key is told before any request, a wrong one after its description alone", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  const bob = await people.person("bob");
  const { recoveryKey: foreign } = await bob.core.ok("trust.setUp", { recovery: byKey });
  const isOfTrust = { path: /account_data|room_keys\/keys|keys\/signatures/ };
  const last = recoveryKey.at(-1) ?? "";
  const typo = recoveryKey.slice(0, -1) + (last === "a" ? "b" : "a");
  for (const name of ["trust.recover", "trust.checkRecovery"] as const) {
    const asked = alice.proxy.seen(isOfTrust).length;
    expect(await alice.core.call(name, { recoveryKey: typo })).toMatchObject({
      ok: false,
      error: { code: "wrong-key", details: { kind: "malformed" } },
    });
    expect(await alice.core.call(name, { recoveryKey: recoveryKey.slice(5) })).toMatchObject({
      ok: false,
      error: { code: "wrong-key", details: { kind: "malformed", problem: "length" } },
    });
    expect(alice.proxy.seen(isOfTrust)).toHaveLength(asked);
    expect(await alice.core.call(name, { recoveryKey: foreign })).toMatchObject({
      ok: false,
      error: { code: "wrong-key", details: { kind: "recovery-key" } },
    });
    const more = alice.proxy.seen(isOfTrust).slice(asked);
    expect(
      more.map((one) =>
        decodeURIComponent(one.path)
          .replace(/^.*account_data\//, "")
          .replace(/key\..*/, "key."),
      ),
    ).toEqual(["m.secret_storage.default_key", "m.secret_storage.key."]);
    expect(await alice.core.call(name, {})).toMatchObject({ ok: false, error: { code: "bad-request" } });
  }
});

test("an identity that the server swapped takes no secret: nothing is signed, and it is said", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  const mallory = await people.person("mallory");
  await mallory.core.ok("trust.setUp", { recovery: byKey });
  const foreign = await onServer(mallory).keys();
  const other = await people.person("alice", await people.server().login(alice.account));
  // what is swapped is an identity that it has met
  await met(other);
  other.proxy.on(isPost(/\/keys\/query$/), {
    kind: "rewrite-response",
    json: (body) => swapped(body, alice.userId, foreign.master ?? ""),
  });
  const { missing } = await other.core.ok("trust.recover", { recoveryKey });
  expect(missing).toContain("master");
  expect(other.proxy.seen(isPost(/\/keys\/signatures\/upload$/)).length).toBe(0);
  expect((await other.core.ok("trust.status", {})).identity).not.toBe("verified");
});

test("the drill opens everything with the right key and changes nothing", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  const from = alice.proxy.exchanges.length;
  expect(await alice.core.ok("trust.checkRecovery", { recoveryKey })).toMatchObject({
    ok: true,
    opens: ["master", "selfSigning", "userSigning", "backup"],
  });
  const writes = alice.proxy.exchanges
    .slice(from)
    .filter((one) => one.method !== "GET" && !/\/(keys\/query|sync|room_keys\/keys|keys\/upload)$/.test(one.path))
    // each run leaves its mark, whenever that comes
    .filter((one) => !decodeURIComponent(one.path).includes("/account_data/chat.tessera.device_run."));
  expect(writes.map((one) => one.path)).toEqual([]);
});

test("what is missing is named, and only that", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  await onServer(alice).setData("m.cross_signing.user_signing", {});
  await alice.core.until(
    async () => (await alice.core.ok("trust.status", {})).problems.includes("user-signing-key-missing-in-storage"),
    "the problem",
  );
  expect(await alice.core.ok("trust.status", {})).toMatchObject({
    recovery: "incomplete",
    problems: ["user-signing-key-missing-in-storage"],
  });
  const other = await people.person("alice", await people.server().login(alice.account));
  expect(await other.core.ok("trust.recover", { recoveryKey })).toEqual({ missing: ["userSigning"] });
  expect(await other.core.ok("trust.status", {})).toMatchObject({ identity: "verified" });
  expect(await other.core.ok("trust.checkRecovery", { recoveryKey })).toMatchObject({
    ok: false,
    opens: ["master", "selfSigning", "backup"],
  });
});

test("a backup key that another own device hands over is checked against the version and used", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  await onServer(alice).setData("m.megolm_backup.v1", {});
  const other = await people.person("alice", await people.server().login(alice.account));
  expect(await other.core.ok("trust.recover", { recoveryKey })).toEqual({ missing: ["backup"] });
  // verified devices ask each other for what they lack
  await other.core.until(async () => {
    await Promise.all([other.core.sync(), alice.core.sync()]);
    return (await other.core.ok("trust.status", {})).secrets.backup;
  }, "the backup's key");
});

test("an answer that was lost with the process is given again, once", async () => {
  const alice = await people.person("alice");
  const isLastRead = { method: "GET", path: /account_data\/m\.megolm_backup\.v1$/ };
  // the last reads of a set-up: all is made, and the plan is not yet marked as done
  const rule = alice.proxy.on(
    { ...isLastRead, when: () => alice.proxy.seen({ method: "PUT", path: /default_key$/ }).length > 0 },
    { kind: "hold" },
  );
  const lost = alice.core.call("trust.setUp", { recovery: byKey });
  await eventually(
    () => rule.used,
    (used) => used > 0,
  );
  await alice.core.kill();
  await lost;
  rule.remove();
  const again = await startCore(sameAs(alice.core));
  expect((await again.ok("trust.status", {})).problems).toEqual(["set-up-unfinished"]);
  const { recoveryKey } = await again.ok("trust.setUp", { recovery: byKey });
  await onServer(alice).expectWhole(recoveryKey);
  expect(await again.call("trust.setUp", { recovery: byKey })).toMatchObject({
    ok: false,
    error: { code: "conflict" },
  });
});

/** keys/query with another master key in place of the account's, as a server in the middle would send it. */
function swapped(body: unknown, userId: string, key: string): unknown {
  const answer = structuredClone(body) as { master_keys?: Record<string, { keys: Record<string, string> }> };
  const master = answer.master_keys?.[userId];
  if (master !== undefined) master.keys = { [`ed25519:${key}`]: key };
  return answer;
}

test("after a reset every room key goes into the new backup, and the old backup keeps its own", async () => {
  const alice = await people.person("alice");
  await alice.core.ok("trust.setUp", { recovery: byKey });
  const roomId = await people.room(alice, [], { encrypted: true });
  await alice.core.say(roomId, "kept");
  const backedUp = (version: string) =>
    eventually(
      () => onServer(alice).backup(),
      (backup) => backup?.version === version && backup.count > 0,
    );
  const before = await backedUp("1");
  const { recoveryKey } = await alice.core.ok("trust.reset", { password: alice.account.password, keepHistory: true });
  const after = await backedUp("2");
  expect(after?.count).toBe(before?.count);
  const old = await people.server().api<{ count: number }>("GET", "v3/room_keys/version/1", {
    token: alice.account.accessToken,
  });
  expect(old.count).toBe(before?.count);
  // and a new device reads it with the new key
  expect(await alice.core.ok("trust.checkRecovery", { recoveryKey })).toEqual({
    ok: true,
    opens: ["master", "selfSigning", "userSigning", "backup"],
    sampleKeysDecrypted: after?.count,
  });
});

test("a device that holds the identity whole makes the recovery that the account lacks, and no second identity", async () => {
  const alice = await people.person("alice");
  await alice.core.ok("trust.setUp", { recovery: byKey });
  const { master } = await onServer(alice).keys();
  await onServer(alice).setData("m.secret_storage.default_key", {});
  expect((await alice.core.ok("trust.status", {})).identity).toBe("verified");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  expect((await onServer(alice).keys()).master).toBe(master);
  expect((await onServer(alice).backup())?.version).toBe("1");
  await onServer(alice).expectWhole(recoveryKey);
});

test("neither recovery key nor secrets reach the log", async () => {
  const alice = await people.person("alice");
  const { recoveryKey } = await alice.core.ok("trust.setUp", { recovery: byKey });
  await alice.core.ok("trust.recover", { recoveryKey });
  const secrets = await Promise.all(
    ["m.cross_signing.master", "m.megolm_backup.v1"].map((name) => onServer(alice).secret(name, recoveryKey)),
  );
  const logged = alice.core.logs.map(({ text }) => text).join("\n");
  expect(logged).toContain("trust.setUp");
  for (const secret of [recoveryKey, recoveryKey.slice(0, 9), alice.account.password, ...secrets])
    expect(logged.includes(secret)).toBe(false);
});
