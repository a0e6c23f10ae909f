import { asCoreError, CoreError } from "../../errors.ts";
import { object } from "../../json.ts";
import { log } from "../../log.ts";
import type { ServerIdentity } from "../../matrix/identity.ts";
import { identityKeys, publicKeyIn, type Seeds } from "../../matrix/identity-keys.ts";
import { secretNames } from "../../matrix/secret-storage.ts";
import type { IdentityStore, PlanKind } from "../../storage/identity-store.ts";
import { inspect } from "./inspect.ts";
import type { OwnAccount } from "./own-account.ts";
import { dropLostPlan, type Plan } from "./identity-plan.ts";

type Step = {
  kind: PlanKind;
  plan: Plan;
  password: string | undefined;
  /** Durable when it resolves. */
  save: (plan: Plan) => Promise<void>;
};
const mostTries = 3;

/**
 * Carries a plan out, from wherever it stands; what is there already is left alone, so each step may come twice.
 *
 * The public keys go first. They are what other devices compete for, and only who won may write secret storage: written before, it
 * could overwrite that of a device which was faster. Until secret storage is written, the private keys are in the plan (on the disk)
 * and in crypto.db. The default key is named last, so that it never stands for secrets that are not there.
 */
export async function establish(account: OwnAccount, step: Step): Promise<void> {
  const plan = await publishIdentity(account, step);
  await vouchForDevice(account, plan);
  await makeBackup(account, step.kind, plan);
  await fillStorage(account, plan);
  await assertOurs(account, plan, step.kind);
  const found = await inspect(account);
  if (found.problems.length > 0)
    throw new CoreError("unreachable", {
      message: "The server did not keep all of it. Another try may complete it.",
      details: { kind: "incomplete", problems: found.problems },
    });
}

async function publishIdentity(account: OwnAccount, { kind, plan, password, save }: Step): Promise<Plan> {
  let current = plan;
  for (let tries = 1; current.identity !== undefined; tries++) {
    try {
      await account.identity.publish(current.identity, password, () => assertOurs(account, current, kind, "none"));
      return current;
    } catch (error) {
      const status = object(asCoreError(error).details)?.["status"];
      if (typeof status !== "number" || status < 500 || tries >= mostTries) throw error;
      log.warn("the server failed while it stored the identity; what it has is looked at");
      // keys that a server has stored once it may refuse for ever: the last try is made with others
      if (tries < mostTries - 1 || (await isPublished(account, current))) continue;
      current = { ...current, identity: await account.identity.create() };
      await save(current);
    }
  }
  return current;
}

async function isPublished(account: OwnAccount, { identity }: Plan): Promise<boolean> {
  if (identity === undefined) return true;
  const { keys } = await account.identity.onServer();
  return identityKeys.every((name) => keys[name] === publicKeyIn(identity.upload[name]));
}

/** A set-up replaces nobody's identity: `conflict`. `mayLack`: the server need not have one yet. */
async function assertOurs(account: OwnAccount, plan: Plan, kind: PlanKind, mayLack?: "none"): Promise<void> {
  if (plan.identity === undefined) return;
  const { master } = (await account.identity.onServer()).keys;
  if (master === publicKeyIn(plan.identity.upload.master)) return;
  if (mayLack !== undefined && (master === undefined || kind === "reset")) return;
  throw alreadyThere();
}

async function vouchForDevice(account: OwnAccount, plan: Plan): Promise<void> {
  const { identity } = account;
  await publishDevice(account);
  await identity.learn();
  const before = await identity.here();
  const complete = identityKeys.every((name) => before.secrets[name]);
  if (plan.identity !== undefined && (!complete || before.at === "none" || !before.identityVerified))
    await identity.adopt(plan.identity.seeds);
  await signThisDevice(account);
}

/** Sees to it that the server has this device's keys: without them there is nothing to sign. Returns how the server had it before. */
export async function publishDevice({ crypto, identity }: OwnAccount): Promise<ServerIdentity["device"]> {
  const { device } = await identity.onServer();
  if (device === "missing") {
    await crypto.processOutgoing();
    await crypto.ensureDeviceKeys();
  }
  return device;
}

/** Requires at the end that the server shows this device signed, and that Rust crypto believes it. */
export async function signThisDevice({ identity }: OwnAccount): Promise<void> {
  const now = await identity.here();
  if (now.at !== "none" && !now.identityVerified)
    throw new CoreError("conflict", {
      message: "The identity on the server is another one.",
      details: { kind: "identity" },
    });
  if (now.at !== "verified" || (await identity.onServer()).device !== "signed") {
    await identity.signDevice();
    await identity.learn();
  }
  const after = await identity.here();
  if (after.at !== "verified")
    throw new CoreError("unreachable", {
      message: "The server does not show this device as verified.",
      details: { kind: "device-not-signed" },
    });
}

/** A version that this device can vouch for stays; a reset makes a new one and leaves the old one where it is. */
async function makeBackup({ backup }: OwnAccount, kind: PlanKind, plan: Plan): Promise<void> {
  const there = await backup.find();
  const held = await backup.held();
  if (kind === "set-up" && there?.publicKey !== undefined && there.publicKey === held?.publicKey) {
    await backup.use(there, held.key);
    if (!(await backup.verify(there)).signedByIdentity) await backup.sign(there);
    return;
  }
  await backup.use(await backup.make(plan.backupKey), plan.backupKey);
}

async function fillStorage({ identity, backup, storage }: OwnAccount, plan: Plan): Promise<void> {
  const { keyId, key, passphrase } = plan.recovery;
  const storageKey = { keyId, key: Buffer.from(key, "base64") };
  const seeds: Partial<Seeds> = plan.identity?.seeds ?? (await identity.exportSeeds());
  const held = await backup.held();
  await storage.describe(storageKey, passphrase);
  const values = { ...seeds, backup: held?.key };
  for (const name of [...identityKeys, "backup"] as const) {
    const value = values[name];
    if (value !== undefined) await storage.store(secretNames[name], value, storageKey);
  }
  await storage.setDefault(keyId);
}

/** Where somebody else was first, or the person did not confirm it: what was not published will not be. */
export async function dropRefused(
  { identity }: OwnAccount,
  store: IdentityStore,
  error: unknown,
  nowMs: () => number,
): Promise<void> {
  if (!["conflict", "authentication-required", "forbidden"].includes(asCoreError(error).code)) return;
  try {
    await dropLostPlan(store, (await identity.onServer()).keys.master, nowMs());
  } catch (cause) {
    // the refusal is what the caller is to hear; the plan is looked at again by the next call
    log.info(`an unconfirmed plan stays: ${asCoreError(cause).code}`);
  }
}

export const alreadyThere = () =>
  new CoreError("conflict", {
    message: "This account has an identity already. It is recovered, not set up again.",
    details: { kind: "identity" },
  });
