import { randomBytes } from "node:crypto";
import { deriveRecoveryKeyFromPassphrase } from "matrix-js-sdk/lib/crypto-api/key-passphrase.js";
import { encodeRecoveryKey } from "matrix-js-sdk/lib/crypto-api/recovery-key.js";
import { calculateKeyCheck } from "matrix-js-sdk/lib/secret-storage.js";
import { beforeAll, expect, test } from "vitest";
import { useHomeserver, type Person } from "../people.ts";
import { accountOnServer } from "./account-on-server.ts";

/** Secret storage as other clients leave it, sealed with matrix-js-sdk's own code. */
const people = useHomeserver();
const names = [
  "m.cross_signing.master",
  "m.cross_signing.self_signing",
  "m.cross_signing.user_signing",
  "m.megolm_backup.v1",
];
let owner: Person;
let device: Person;
const secrets = new Map<string, string>();

beforeAll(async () => {
  owner = await people.person("owner");
  const { recoveryKey } = await owner.core.ok("trust.setUp", { recovery: { kind: "key" } });
  for (const name of names) secrets.set(name, await onServer().secret(name, recoveryKey));
  device = await people.person("owner", await people.server().login(owner.account));
});

const onServer = () => accountOnServer(people.server(), owner.account);
let made = 0;

/** All four secrets under a fresh default key; `describe` may bend its description. */
async function otherClientStores(
  key: Uint8Array<ArrayBuffer>,
  describe: (content: Record<string, unknown>) => unknown = (content) => content,
) {
  const keyId = `other-${++made}`;
  const { setData, seal } = onServer();
  const description = {
    algorithm: "m.secret_storage.v1.aes-hmac-sha2",
    name: "Other",
    ...(await calculateKeyCheck(key)),
  };
  await setData(
    `m.secret_storage.key.${keyId}`,
    describe({ iv: description.iv, mac: description.mac, algorithm: description.algorithm, name: description.name }),
  );
  for (const [name, secret] of secrets)
    await setData(name, { encrypted: { [keyId]: await seal(secret, key, name), unknown: { whatever: true } } });
  await setData("m.secret_storage.default_key", { key: keyId });
  return keyId;
}
const freshKey = () => new Uint8Array(randomBytes(32));
const written = (key: Uint8Array) => encodeRecoveryKey(key) ?? "";
const kindOf = async (input: { recoveryKey: string } | { passphrase: string }) => {
  const answer = await device.core.call("trust.recover", input);
  return answer.ok ? answer.value : { code: answer.error.code, details: answer.error.details };
};
const refusal = (reason: string) => ({ code: "unsupported", details: { kind: "secret-storage", reason } });

test.each([
  ["an unknown algorithm", (content: object) => ({ ...content, algorithm: "org.example.v7" }), "unknown-algorithm"],
  ["no check of the key", (content: object) => ({ ...content, mac: undefined }), "no-key-check"],
  ["a check of wrong shape", (content: object) => ({ ...content, mac: "AAAA" }), "malformed"],
  ["a description that is gone", () => ({}), "default-key-unknown"],
])("storage with %s is refused with the reason, and shown", async (_, describe, reason) => {
  const key = freshKey();
  await otherClientStores(key, describe);
  expect(await kindOf({ recoveryKey: written(key) })).toEqual(refusal(reason));
  await device.core.sync();
  const shown = {
    "unknown-algorithm": "storage-of-unknown-kind",
    "no-key-check": "storage-key-unchecked",
    malformed: "storage-key-malformed",
    "default-key-unknown": "storage-key-unknown",
  }[reason];
  await device.core.until(async () => (await device.core.ok("trust.status", {})).problems.includes(shown ?? ""), shown);
  expect((await device.core.ok("trust.status", {})).recovery).toBe("incomplete");
});

test("a check that another key made is a wrong key", async () => {
  const key = freshKey();
  const other = await calculateKeyCheck(freshKey());
  await otherClientStores(key, (content) => ({ ...content, iv: other.iv, mac: other.mac }));
  expect(await kindOf({ recoveryKey: written(key) })).toEqual({ code: "wrong-key", details: { kind: "recovery-key" } });
});

test.each([0, 1, 2 ** 31])(
  "a passphrase of %s rounds is refused with the reason, the recovery key beside it is not",
  async (iterations) => {
    const key = freshKey();
    await otherClientStores(key, (content) => ({
      ...content,
      passphrase: { algorithm: "m.pbkdf2", salt: "salt", iterations, bits: 256 },
    }));
    expect(await kindOf({ passphrase: "any" })).toEqual(refusal("passphrase-rounds"));
    expect(await device.core.ok("trust.checkRecovery", { recoveryKey: written(key) })).toMatchObject({ ok: true });
  },
);

test("storage without a passphrase says so to who gives one", async () => {
  await otherClientStores(freshKey());
  expect(await kindOf({ passphrase: "any" })).toEqual(refusal("no-passphrase"));
});

test("a secret that was altered, and one of another identity, are not taken: the others are checked all the same", async () => {
  const key = freshKey();
  const keyId = await otherClientStores(key);
  const { seal, setData } = onServer();
  const sealed = await seal(secrets.get("m.cross_signing.user_signing") ?? "", key, "m.cross_signing.user_signing");
  await setData("m.cross_signing.user_signing", {
    encrypted: { [keyId]: { ...sealed, mac: Buffer.alloc(32, 1).toString("base64") } },
  });
  await setData("m.cross_signing.self_signing", {
    encrypted: { [keyId]: await seal(randomBytes(32).toString("base64"), key, "m.cross_signing.self_signing") },
  });
  expect(await device.core.ok("trust.checkRecovery", { recoveryKey: written(key) })).toMatchObject({
    ok: false,
    opens: ["master", "backup"],
  });
});

test("storage that another client made opens by its passphrase, and by the recovery key beside it", async () => {
  const passphrase = "pl\u00f6tzlich vier Otter";
  const salt = randomBytes(16).toString("base64");
  const key = await deriveRecoveryKeyFromPassphrase(passphrase, salt, 100_000);
  await otherClientStores(new Uint8Array(key), (content) => ({
    ...content,
    passphrase: { algorithm: "m.pbkdf2", salt, iterations: 100_000 },
  }));
  expect(await device.core.ok("trust.checkRecovery", { recoveryKey: written(key) })).toMatchObject({ ok: true });
  expect(await device.core.ok("trust.recover", { passphrase })).toEqual({ missing: [] });
  await device.core.until(async () => {
    const status = await device.core.ok("trust.status", {});
    return status.identity === "verified" && status.recovery === "ready" && status.problems.length === 0;
  }, "a verified device");
});
