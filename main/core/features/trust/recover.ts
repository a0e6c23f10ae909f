import type { Secret } from "../../../../preload/contract/trust.ts";
import { CoreError } from "../../errors.ts";
import { identityKeys, publicHalf, type Seeds } from "../../matrix/identity-keys.ts";
import { secretNames, type StorageKey, type Way } from "../../matrix/secret-storage.ts";
import type { IdentityStore } from "../../storage/identity-store.ts";
import { publishDevice, signThisDevice } from "./establish.ts";
import { dropLostPlan } from "./identity-plan.ts";
import { secrets } from "./inspect.ts";
import type { OwnAccount } from "./own-account.ts";

/** One way in, not both and not none. */
export function wayOf(input: { recoveryKey?: string | undefined; passphrase?: string | undefined }): Way {
  const { recoveryKey, passphrase } = input;
  if (recoveryKey !== undefined && passphrase === undefined) return { recoveryKey };
  if (passphrase !== undefined && recoveryKey === undefined) return { passphrase };
  throw new CoreError("bad-request", { message: "A recovery key or a passphrase is wanted, and one of them." });
}

/** Those secrets of storage that open and fit their public halves on the server: of no other is any use made. */
export async function openSecrets(
  account: OwnAccount,
  storageKey: StorageKey,
): Promise<{ seeds: Partial<Seeds>; backup: string | undefined }> {
  const { identity, backup, storage } = account;
  const [{ keys }, version, ...stored] = await Promise.all([
    identity.onServer(),
    backup.find(),
    ...secrets.map((name) => storage.secret(secretNames[name], storageKey)),
  ]);
  const values = new Map(secrets.map((name, index) => [name, stored[index]] as const));
  const value = (name: Secret) => {
    const found = values.get(name);
    return found?.at === "open" ? found.secret : undefined;
  };
  const seeds: Partial<Seeds> = {};
  for (const name of identityKeys) {
    const seed = value(name);
    if (seed !== undefined && keys[name] !== undefined && publicHalf(seed) === keys[name]) seeds[name] = seed;
  }
  const key = value("backup");
  const fits = key !== undefined && version !== undefined && backup.publicHalf(key) === version.publicKey;
  return { seeds, backup: fits ? key : undefined };
}

/** This device becomes one of the account's verified ones. Answers the secrets that it still lacks. */
export async function recover(
  account: OwnAccount,
  store: IdentityStore,
  way: Way,
  nowMs: () => number,
): Promise<{ missing: Secret[] }> {
  const { identity } = account;
  await useSecrets(account, await openSecrets(account, await account.storage.unlock(way)));
  await dropLostPlan(store, (await identity.onServer()).keys.master, nowMs());
  const missing = await missingHere(account);
  if (missing.length > 0) await identity.askOthers();
  return { missing };
}

/** This device takes them up, and vouches for itself where they let it; each is checked against its public half once more. */
export async function useSecrets(
  account: OwnAccount,
  secrets: { seeds: Partial<Seeds>; backup: string | undefined },
): Promise<void> {
  const { identity, backup } = account;
  await publishDevice(account);
  await identity.learn();
  await identity.adopt(secrets.seeds);
  const here = await identity.here();
  // without the master key nothing says that the other keys are the account's own: no device is signed on a server's word
  if (here.at !== "none" && here.identityVerified && here.secrets.selfSigning) await signThisDevice(account);
  const version = await backup.find();
  if (secrets.backup !== undefined && version !== undefined) await backup.use(version, secrets.backup);
}

/**
 * What was rescued of the device before, whose store was damaged, as far as it is still the account's. Throws where the server cannot
 * be asked; false where there is no identity there that could be taken up.
 */
export async function useRescued(account: OwnAccount, rescued: Partial<Record<Secret, string>>): Promise<boolean> {
  const { identity, backup } = account;
  const [{ keys }, version] = await Promise.all([identity.onServer(), backup.find()]);
  const seeds: Partial<Seeds> = {};
  for (const name of identityKeys) {
    const seed = rescued[name];
    if (seed !== undefined && keys[name] !== undefined && publicHalf(seed) === keys[name]) seeds[name] = seed;
  }
  const fits = rescued.backup !== undefined && backup.publicHalf(rescued.backup) === version?.publicKey;
  if (seeds.master === undefined) return false;
  await useSecrets(account, { seeds, backup: fits ? rescued.backup : undefined });
  return true;
}

export async function missingHere({ identity, backup }: OwnAccount): Promise<Secret[]> {
  const { secrets: held } = await identity.here();
  const [key, version] = await Promise.all([backup.held(), backup.find()]);
  const missing: Secret[] = identityKeys.filter((name) => !held[name]);
  if (key === undefined || key.publicKey !== version?.publicKey) missing.push("backup");
  return missing;
}
