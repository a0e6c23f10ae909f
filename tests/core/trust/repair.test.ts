import { BackupDecryptionKey } from "@matrix-org/matrix-sdk-crypto-wasm";
import { expect, test } from "vitest";
import { decodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";
import { restarted, type Core } from "../core.ts";
import { useHomeserver, type Person } from "../people.ts";
import { accountOnServer } from "./account-on-server.ts";

// Each cause of "out of sync", as other clients and servers make it: named, mended by the least act, and looked at again.
const people = useHomeserver();
const byKey = { kind: "key" } as const;
const onServer = (person: Pick<Person, "account">) => accountOnServer(people.server(), person.account);
const api = (person: Person, method: string, path: string, body?: unknown) =>
  people.server().api(method, path, { token: person.account.accessToken, ...(body === undefined ? {} : { body }) });

async function owner(name: string): Promise<{ alice: Person; recoveryKey: string }> {
  const alice = await people.person(name);
  return { alice, ...(await alice.core.ok("trust.setUp", { recovery: byKey })) };
}
const problemsOf = async (core: Core) => (await core.ok("trust.status", {})).problems;
const named = (core: Core, ...problems: string[]) =>
  core.until(async () => {
    const found = await problemsOf(core);
    return problems.every((problem) => found.includes(problem)) ? found : undefined;
  }, problems.join(", "));
/** What other clients wrote has no effect on what is remembered of the server but by a sync or a start. */
const lookedAnew = async (person: Person) => {
  person.core = await restarted(person.core);
  return person.core;
};

test("a secret that is missing in storage is put there under the same key, and only with that key", async () => {
  const { alice, recoveryKey } = await owner("stored");
  const keyId = await onServer(alice).defaultKey();
  await onServer(alice).setData("m.cross_signing.user_signing", {});
  const problem = "user-signing-key-missing-in-storage";
  expect(await named(alice.core, problem)).toEqual([problem]);
  expect(await alice.core.ok("trust.repair", {})).toEqual({
    repaired: [],
    left: [{ problem, needs: "recovery-key", tried: false }],
  });
  const other = await owner("stranger");
  expect(await alice.core.call("trust.repair", { recoveryKey: other.recoveryKey })).toMatchObject({
    ok: false,
    error: { code: "wrong-key" },
  });
  expect(await alice.core.ok("trust.repair", { recoveryKey })).toEqual({ repaired: [problem], left: [] });
  expect(await problemsOf(alice.core)).toEqual([]);
  expect(await onServer(alice).defaultKey()).toBe(keyId);
  await onServer(alice).expectWhole(recoveryKey);
});

test("a secret that is missing here comes from storage; where it is not there either, the repair says that it did not help", async () => {
  const { alice, recoveryKey } = await owner("lacking");
  const server = onServer(alice);
  const kept = await server.data("m.cross_signing.user_signing");
  await server.setData("m.cross_signing.user_signing", {});
  // nobody hands it over
  await alice.core.stop();
  const other = await people.person("lacking", await people.server().login(alice.account));
  expect(await other.core.ok("trust.recover", { recoveryKey })).toEqual({ missing: ["userSigning"] });
  const problem = "user-signing-key-missing-here";
  await named(other.core, problem);
  const { repaired, left } = await other.core.ok("trust.repair", { recoveryKey });
  expect(repaired).toEqual([]);
  expect(left).toContainEqual({ problem, needs: "other-device", tried: true });
  expect(left).toContainEqual({
    problem: "user-signing-key-missing-in-storage",
    needs: "other-device",
    tried: true,
  });
  await server.setData("m.cross_signing.user_signing", kept);
  expect(await other.core.ok("trust.repair", { recoveryKey })).toEqual({ repaired: [problem], left: [] });
  expect(await other.core.ok("trust.status", {})).toMatchObject({
    secrets: { master: true, selfSigning: true, userSigning: true, backup: true },
    problems: [],
  });
});

test("a default key without its description gets it back from the key that opens what is under it", async () => {
  const { alice, recoveryKey } = await owner("unnamed");
  const keyId = (await onServer(alice).defaultKey()) ?? "";
  await onServer(alice).setData(`m.secret_storage.key.${keyId}`, {});
  await named(alice.core, "storage-key-unknown");
  const other = await owner("other");
  expect(await alice.core.call("trust.repair", { recoveryKey: other.recoveryKey })).toMatchObject({
    ok: false,
    error: { code: "wrong-key", details: { kind: "recovery-key" } },
  });
  expect(await onServer(alice).data(`m.secret_storage.key.${keyId}`)).toEqual({});
  const { repaired, left } = await alice.core.ok("trust.repair", { recoveryKey });
  expect([repaired, left]).toEqual([["storage-key-unknown"], []]);
  expect(await alice.core.ok("trust.checkRecovery", { recoveryKey })).toMatchObject({ ok: true });
  await onServer(alice).expectWhole(recoveryKey);
});

test("a default that names a key which never was is set back to the key that holds the secrets", async () => {
  const { alice, recoveryKey } = await owner("misnamed");
  const keyId = await onServer(alice).defaultKey();
  await onServer(alice).setData("m.secret_storage.default_key", { key: "nobodys" });
  await named(alice.core, "storage-key-unknown");
  expect((await alice.core.ok("trust.repair", { recoveryKey })).left).toEqual([]);
  expect(await onServer(alice).defaultKey()).toBe(keyId);
  expect(await problemsOf(alice.core)).toEqual([]);
  await onServer(alice).expectWhole(recoveryKey);
});

/** A version as another client makes it, signed by nobody. */
async function otherVersion(person: Person): Promise<{ version: string; secret: string }> {
  const key = BackupDecryptionKey.createRandomKey();
  const { version } = (await api(person, "POST", "v3/room_keys/version", {
    algorithm: "m.megolm_backup.v1.curve25519-aes-sha2",
    auth_data: { public_key: key.megolmV1PublicKey.publicKeyBase64 },
  })) as { version: string };
  return { version, secret: key.toBase64() };
}

test("another version of the backup, whose key is in storage, is used and vouched for", async () => {
  const { alice, recoveryKey } = await owner("moved");
  const { version, secret } = await otherVersion(alice);
  const keyId = (await onServer(alice).defaultKey()) ?? "";
  const sealed = await onServer(alice).seal(secret, decodeRecoveryKey(recoveryKey), "m.megolm_backup.v1");
  await onServer(alice).setData("m.megolm_backup.v1", { encrypted: { [keyId]: sealed } });
  await named(alice.core, "backup-key-differs");
  expect((await alice.core.ok("trust.repair", {})).left).toEqual([
    { problem: "backup-key-differs", needs: "recovery-key", tried: false },
  ]);
  expect(await alice.core.ok("trust.repair", { recoveryKey })).toEqual({ repaired: ["backup-key-differs"], left: [] });
  await alice.core.until(async () => {
    const status = await alice.core.ok("backup.status", {});
    return status.at === "on" && status.version === version;
  }, "the other version in use");
  await onServer(alice).expectWhole(recoveryKey);
});

test("another version that recovery cannot open and nobody vouches for is left, and a version of our own made beside it", async () => {
  const { alice, recoveryKey } = await owner("foreign");
  const { version } = await otherVersion(alice);
  const core = await lookedAnew(alice);
  await named(core, "backup-key-differs");
  expect((await core.ok("trust.repair", { recoveryKey })).left).toEqual([]);
  expect((await onServer(alice).backup())?.version).not.toBe(version);
  expect(await api(alice, "GET", `v3/room_keys/version/${version}`)).toMatchObject({ version });
  await onServer(alice).expectWhole(recoveryKey);
});

test("a backup that lost the identity's signature is signed again, without any key being typed", async () => {
  const { alice, recoveryKey } = await owner("unsigned");
  const backup = await onServer(alice).backup();
  const { version = "", auth_data } = backup ?? {};
  await api(alice, "PUT", `v3/room_keys/version/${version}`, {
    ...{ algorithm: "m.megolm_backup.v1.curve25519-aes-sha2", version },
    auth_data: { ...auth_data, signatures: {} },
  });
  const core = await lookedAnew(alice);
  await named(core, "backup-not-signed");
  expect(await core.ok("trust.repair", {})).toEqual({ repaired: ["backup-not-signed"], left: [] });
  expect((await onServer(alice).backup())?.version).toBe(version);
  await onServer(alice).expectWhole(recoveryKey);
});

test("a backup that the server lost is made anew for the same key, so that recovery still opens it", async () => {
  const { alice, recoveryKey } = await owner("gone");
  await api(alice, "DELETE", "v3/room_keys/version/1");
  const core = await lookedAnew(alice);
  await named(core, "backup-missing");
  expect(await core.ok("trust.repair", {})).toEqual({ repaired: ["backup-missing"], left: [] });
  await onServer(alice).expectWhole(recoveryKey);
});

test("an identity that another device replaced is believed with its recovery key, and not before", async () => {
  const { alice, recoveryKey } = await owner("replaced");
  const other = await people.person("replaced", await people.server().login(alice.account));
  await other.core.ok("trust.recover", { recoveryKey });
  const renewed = await other.core.ok("trust.reset", { password: alice.account.password, keepHistory: true });
  await named(alice.core, "identity-changed");
  const { left } = await alice.core.ok("trust.repair", {});
  expect(left).toContainEqual({ problem: "identity-changed", needs: "recovery-key", tried: false });
  expect(await alice.core.call("trust.repair", { recoveryKey })).toMatchObject({
    ok: false,
    error: { code: "wrong-key" },
  });
  const { master } = await onServer(alice).keys();
  const done = await alice.core.ok("trust.repair", { recoveryKey: renewed.recoveryKey });
  expect(done.repaired).toContain("identity-changed");
  expect(done.left).toEqual([]);
  expect(await alice.core.ok("trust.status", {})).toMatchObject({
    identity: "verified",
    recovery: "ready",
    problems: [],
  });
  expect((await onServer(alice).keys()).master).toBe(master);
});

test("a repair that the server takes and does not keep says that it did not help", async () => {
  const { alice, recoveryKey } = await owner("forgetful");
  await onServer(alice).setData("m.cross_signing.master", {});
  await named(alice.core, "master-key-missing-in-storage");
  alice.proxy.on(
    { method: "PUT", path: /account_data\/m\.cross_signing\.master$/ },
    { kind: "status", status: 200, body: {} },
  );
  expect(await alice.core.ok("trust.repair", { recoveryKey })).toEqual({
    repaired: [],
    left: [{ problem: "master-key-missing-in-storage", needs: "server", tried: true }],
  });
});

test("who lost the recovery key and holds everything makes a new one, once the old recovery is not whole", async () => {
  const { alice, recoveryKey } = await owner("lost-key");
  const { master } = await onServer(alice).keys();
  const keyId = (await onServer(alice).defaultKey()) ?? "";
  await onServer(alice).setData(`m.secret_storage.key.${keyId}`, {});
  for (const name of ["master", "self_signing", "user_signing"])
    await onServer(alice).setData(`m.cross_signing.${name}`, {});
  await onServer(alice).setData("m.megolm_backup.v1", {});
  await named(alice.core, "storage-key-unknown");
  const { left } = await alice.core.ok("trust.repair", { recoveryKey });
  expect(left).toContainEqual({ problem: "storage-key-unknown", needs: "set-up", tried: false });
  const made = await alice.core.ok("trust.setUp", { recovery: byKey });
  expect(made.recoveryKey).not.toBe(recoveryKey);
  expect((await onServer(alice).keys()).master).toBe(master);
  await onServer(alice).expectWhole(made.recoveryKey);
  expect(await problemsOf(alice.core)).toEqual([]);
});

test("the drill is noted, a drill of half a year ago is due again, and a wrong key is none", async () => {
  const { alice, recoveryKey } = await owner("practised");
  expect(await alice.core.ok("trust.practice", {})).toEqual({ due: false });
  const other = await owner("else");
  await alice.core.call("trust.checkRecovery", { recoveryKey: other.recoveryKey });
  expect(await alice.core.ok("trust.practice", {})).toEqual({ due: false });
  await alice.core.ok("trust.checkRecovery", { recoveryKey });
  const { lastDrill, due } = await alice.core.ok("trust.practice", {});
  expect([lastDrill?.ok, due]).toEqual([true, false]);
  const core = await lookedAnew(alice);
  expect((await core.ok("trust.practice", {})).lastDrill).toEqual(lastDrill);
});
