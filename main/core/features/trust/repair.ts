import type { Repaired, RepairNeed } from "../../../../preload/contract/trust.ts";
import { CoreError } from "../../errors.ts";
import { identityKeys, publicHalf, type Seeds } from "../../matrix/identity-keys.ts";
import { decodeRecoveryKey } from "../../matrix/recovery-key.ts";
import { secretNames, type SecretStorage, type StorageKey, type Way } from "../../matrix/secret-storage.ts";
import { publishDevice, signThisDevice } from "./establish.ts";
import { inspect, secrets, type Inspection } from "./inspect.ts";
import type { OwnAccount } from "./own-account.ts";
import { missingHere, openSecrets } from "./recover.ts";

type Opened = Awaited<ReturnType<typeof openSecrets>> & { storageKey: StorageKey };

/**
 * The least that mends what is out of step between this device, the identity, secret storage and the backup; nothing that works is
 * touched. What a step did is not believed: at the end all of it is looked at anew, and what is still there is said to be.
 */
export async function repair(account: OwnAccount, way: Way | undefined): Promise<Repaired> {
  const before = await inspect(account);
  // what this device remembers may simply be old
  await account.identity.learn();
  const opened = way === undefined ? undefined : await openStorage(account, way);
  await bringSecrets(account, opened);
  await mendIdentity(account);
  await mendBackup(account, opened);
  if (opened !== undefined) await mendStorage(account, opened.storageKey);
  const after = await inspect(account);
  return {
    repaired: before.problems.filter((problem) => !after.problems.includes(problem)),
    left: await leftOf(account, { before, after, gave: way !== undefined, opened: opened !== undefined }),
  };
}

/** Undefined where nothing in storage can say whether what was typed is its key. */
async function openStorage(account: OwnAccount, way: Way): Promise<Opened | undefined> {
  const { storage } = account;
  if ("recoveryKey" in way) {
    // a typing mistake is told before anything is asked
    const key = decodeRecoveryKey(way.recoveryKey);
    const found = await storage.defaultKey();
    if (found.at === "unknown" && (await nameDefault(storage, found.keyId, key)) === "nothing-to-compare")
      return undefined;
  }
  const storageKey = await storage.unlock(way);
  return { storageKey, ...(await openSecrets(account, storageKey)) };
}

/**
 * The default key has no description. What was typed is that key where it opens what is stored under it, and gets its description
 * back; or it is another key that is described and opens the secrets, and becomes the default again. Throws `wrong-key`.
 */
async function nameDefault(
  storage: SecretStorage,
  defaultId: string,
  key: Uint8Array,
): Promise<"named" | "nothing-to-compare"> {
  const ids = new Set([
    defaultId,
    ...(await Promise.all(secrets.map((name) => storage.keysOf(secretNames[name])))).flat(),
  ]);
  let compared = false;
  for (const keyId of ids) {
    const storageKey = { keyId, key };
    const stored = await Promise.all(secrets.map((name) => storage.secret(secretNames[name], storageKey)));
    if (stored.some((one) => one.at === "open")) {
      await storage.describe(storageKey);
      await storage.setDefault(keyId);
      return "named";
    }
    compared ||= stored.some((one) => one.at === "damaged");
  }
  if (!compared) return "nothing-to-compare";
  throw new CoreError("wrong-key", {
    message: "This is not the recovery key of this account.",
    details: { kind: "recovery-key" },
  });
}

/** Secrets that are missing here: from storage, or from the account's other devices, which answer when they please. */
async function bringSecrets(account: OwnAccount, opened: Opened | undefined): Promise<void> {
  const { identity } = account;
  const here = await identity.here();
  if (here.at === "none") return;
  const lacks = !here.identityVerified || identityKeys.some((name) => !here.secrets[name]);
  if (lacks && opened !== undefined) await identity.adopt(opened.seeds);
  if ((await missingHere(account)).some((name) => name !== "backup" || opened?.backup === undefined))
    await identity.askOthers();
}

/** This device signed by an identity that it trusts. */
async function mendIdentity(account: OwnAccount): Promise<void> {
  const { identity } = account;
  const here = await identity.here();
  if (here.at === "none" || !here.identityVerified || !here.secrets.selfSigning) return;
  const device = await publishDevice(account);
  if (!here.deviceSigned || device !== "signed") await signThisDevice(account);
}

/** A version that this device has the key of and that the identity vouches for; another is never written over, and none deleted. */
async function mendBackup({ identity, backup, storage }: OwnAccount, opened: Opened | undefined): Promise<void> {
  const here = await identity.here();
  if (here.at !== "verified") return;
  const held = await backup.held();
  let version = await backup.find();
  if (version === undefined) {
    // the same key as before: what is in recovery stays right
    const key = held?.key ?? (opened === undefined ? undefined : backup.newKey());
    if (key === undefined) return;
    version = await backup.make(key);
    await backup.use(version, key);
    if (held === undefined && opened !== undefined) await storage.store(secretNames.backup, key, opened.storageKey);
  } else if (version.publicKey !== undefined && held?.publicKey !== version.publicKey) {
    if (opened?.backup !== undefined) await backup.use(version, opened.backup);
    else if (opened !== undefined && held !== undefined && !(await backup.verify(version)).signedByIdentity) {
      // nobody of ours vouches for it and recovery cannot open it: the history goes where both can
      version = await backup.make(held.key);
      await backup.use(version, held.key);
    }
  }
  const now = await backup.held();
  if (now?.publicKey !== version.publicKey || !here.secrets.master) return;
  if (!(await backup.verify(version)).signedByIdentity) await backup.sign(version);
}

/** What this device holds and the account goes by, where storage has it not or has another. */
async function mendStorage({ identity, backup, storage }: OwnAccount, storageKey: StorageKey): Promise<void> {
  const here = await identity.here();
  if (here.at !== "verified") return;
  const { keys } = await identity.onServer();
  const seeds: Partial<Seeds> = await identity.exportSeeds();
  for (const name of identityKeys) {
    const seed = seeds[name];
    if (seed !== undefined && publicHalf(seed) === keys[name]) await storage.store(secretNames[name], seed, storageKey);
  }
  const [held, version] = [await backup.held(), await backup.find()];
  if (held !== undefined && held.publicKey === version?.publicKey)
    await storage.store(secretNames.backup, held.key, storageKey);
}

type Outcome = { before: Inspection; after: Inspection; gave: boolean; opened: boolean };

async function leftOf(account: OwnAccount, { before, after, gave, opened }: Outcome): Promise<Repaired["left"]> {
  if (after.problems.length === 0) return [];
  const here = await account.identity.here();
  const missing = await missingHere(account);
  const hasAll = here.at === "verified" && missing.every((name) => name === "backup");
  const needOf = (problem: string): RepairNeed => {
    if (/-missing-on-server$/.test(problem)) return "reset";
    // a recovery of a kind that is not opened here can be replaced by who holds all of it
    if (/^(storage-(of-|key-unchecked|key-malformed)|recovery-missing)/.test(problem))
      return hasAll ? "set-up" : "other-device";
    if (problem === "backup-of-unknown-kind") return "reset";
    if (problem === "storage-key-unknown" && gave) return opened ? "server" : hasAll ? "set-up" : "other-device";
    if (!opened) return gave ? "other-device" : "recovery-key";
    // the key was right, and what it opens is not what is missing
    if (/-missing-here$|-differs$|^identity-changed$|^device-not-signed$/.test(problem)) return "other-device";
    if (problem.endsWith("-missing-in-storage") && missing.some((name) => problem.startsWith(kebab[name])))
      return "other-device";
    return "server";
  };
  return after.problems.map((problem) => {
    const needs = needOf(problem);
    // a thing that only a key can do was not tried without one
    return { problem, needs, tried: before.problems.includes(problem) && (opened || needs === "server") };
  });
}

const kebab = { master: "master-", selfSigning: "self-", userSigning: "user-", backup: "backup-" } as const;
