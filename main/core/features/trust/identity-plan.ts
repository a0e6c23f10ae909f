import { randomBytes } from "node:crypto";
import { publicKeyIn, type NewIdentity } from "../../matrix/identity-keys.ts";
import { encodeRecoveryKey } from "../../matrix/recovery-key.ts";
import { keyFromPassphrase, ownRounds, type Passphrase } from "../../matrix/secret-cipher.ts";
import { newKeyId } from "../../matrix/secret-storage.ts";
import type { IdentityStore, PlanKind } from "../../storage/identity-store.ts";
import type { OwnAccount } from "./own-account.ts";

export type Recovery = { kind: "key" } | { kind: "passphrase"; passphrase: string };
type PlannedRecovery = { keyId: string; key: string; passphrase?: Passphrase };
/**
 * All that a set-up or a reset makes, before any of it has left: so whatever interrupts it, the next try goes on with the same
 * identity and the same recovery key. Secrets in it live in account.db alone, which is encrypted.
 */
export type Plan = {
  /** Absent where the account's own identity stays and only its recovery is made. */
  identity?: NewIdentity;
  recovery: PlannedRecovery;
  /** The private key of the backup that is made where none can be used. */
  backupKey: string;
};

export async function newPlan(account: OwnAccount, recovery: Recovery, withIdentity: boolean): Promise<Plan> {
  return {
    ...(withIdentity ? { identity: await account.identity.create() } : {}),
    recovery: await planRecovery(recovery),
    backupKey: account.backup.newKey(),
  };
}

/** The stored plan of that kind; its shape is our own. */
export function storedPlan(store: IdentityStore, kind: PlanKind): { plan: Plan; done: boolean } | undefined {
  const stored = store.plan();
  return stored?.kind === kind ? { plan: stored.plan as Plan, done: stored.done } : undefined;
}

/** Whether the person asks for the same recovery as when the plan was made. */
export async function asksForSame(plan: Plan, recovery: Recovery): Promise<boolean> {
  if (recovery.kind === "key") return plan.recovery.passphrase === undefined;
  if (plan.recovery.passphrase === undefined) return false;
  const key = await keyFromPassphrase(recovery.passphrase, plan.recovery.passphrase);
  return key.toString("base64") === plan.recovery.key;
}

export async function planRecovery(recovery: Recovery): Promise<PlannedRecovery> {
  const keyId = newKeyId();
  if (recovery.kind === "key") return { keyId, key: randomBytes(32).toString("base64") };
  const passphrase = { salt: randomBytes(24).toString("base64url"), iterations: ownRounds };
  return { keyId, key: (await keyFromPassphrase(recovery.passphrase, passphrase)).toString("base64"), passphrase };
}

export const recoveryKeyOf = (plan: Plan): string => encodeRecoveryKey(Buffer.from(plan.recovery.key, "base64"));

/** A plan without an identity of its own is of whichever the account has. */
export const isPlanOf = ({ identity }: Plan, master: string | undefined): boolean =>
  master !== undefined && (identity === undefined || publicKeyIn(identity.upload.master) === master);

/**
 * Lets an unfinished plan go whose identity the server does not have: one that was never published, or one that another device's
 * took the place of. Its keys are kept; nothing on the server is under them.
 */
export async function dropLostPlan(store: IdentityStore, master: string | undefined, nowMs: number): Promise<void> {
  const stored = store.plan();
  if (stored === undefined || stored.done || isPlanOf(stored.plan as Plan, master)) return;
  await store.keep("never-published", stored.plan, nowMs);
  store.dropPlan();
}
