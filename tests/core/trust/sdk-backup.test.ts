import { RustBackupManager } from "matrix-js-sdk/lib/rust-crypto/backup.js";
import { RustCrypto } from "matrix-js-sdk/lib/rust-crypto/rust-crypto.js";
import { expect, test } from "vitest";
import { silenceSdkBackup } from "../../../main/core/matrix/sdk-backup.ts";
import { useHomeserver } from "../people.ts";

const people = useHomeserver();

test("the members that are taken out are those that the SDK calls", async () => {
  for (const name of ["checkKeyBackupAndEnable", "maybeUploadKey", "backupKeysLoop", "handleBackupSecretReceived"])
    expect(Reflect.get(RustBackupManager.prototype, name), name).toBeTypeOf("function");
  expect(Reflect.get(RustCrypto.prototype, "checkSecrets")).toBeTypeOf("function");
  silenceSdkBackup();
  const manager = Object.create(RustBackupManager.prototype) as RustBackupManager;
  expect(await manager.checkKeyBackupAndEnable(true)).toBeNull();
  // through the SDK's own wrapper, which its constructor and its listener to the identity use
  const crypto = Object.create(RustCrypto.prototype) as RustCrypto;
  Reflect.set(crypto, "backupManager", manager);
  expect(await crypto.checkKeyBackupAndEnable()).toBeNull();
});

test("what Rust crypto enables is what this app decided, once, and no key goes up by another way", async () => {
  const alice = await people.person("alice");
  await alice.core.ok("trust.setUp", { recovery: { kind: "key" } });
  const roomId = await people.room(alice, [], { encrypted: true });
  await alice.core.say(roomId, "backed up");
  await alice.proxy.waitFor({ method: "PUT", path: /\/room_keys\/keys$/ });
  // the SDK asks through fetch and names itself by its own headers; ours come from one place, with one form of them
  const agents = new Set(
    alice.proxy.seen({ path: /\/room_keys\// }).map((one) => one.requestHeaders["accept-language"] ?? "ours"),
  );
  expect([...agents]).toEqual(["ours"]);
});
