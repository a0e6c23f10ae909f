import { identityKeys } from "../../matrix/identity-keys.ts";
import type { IdentityStore } from "../../storage/identity-store.ts";
import { alreadyThere, dropRefused, establish } from "./establish.ts";
import { inspect } from "./inspect.ts";
import type { OwnAccount } from "./own-account.ts";
import {
  asksForSame,
  dropLostPlan,
  isPlanOf,
  newPlan,
  planRecovery,
  recoveryKeyOf,
  storedPlan,
  type Plan,
  type Recovery,
} from "./identity-plan.ts";

type Input = { password?: string | undefined; recovery: Recovery };

/**
 * Identity, secret storage and backup, or what is left of them after an interruption. An identity that is on the server and not of
 * this plan is never replaced: `conflict`. Where this device holds that identity whole and the account's recovery is not there, or is
 * not whole, the recovery alone is made.
 */
export async function setUp(
  account: OwnAccount,
  store: IdentityStore,
  { password, recovery }: Input,
  nowMs: () => number,
): Promise<{ recoveryKey: string }> {
  const begun = storedPlan(store, "set-up");
  const { master } = (await account.identity.onServer()).keys;
  // the answer to this was lost: it is given again, once
  if (begun?.done === true && isPlanOf(begun.plan, master) && (await asksForSame(begun.plan, recovery))) {
    const now = await account.storage.defaultKey();
    if (now.at === "described" && now.keyId === begun.plan.recovery.keyId)
      return { recoveryKey: recoveryKeyOf(begun.plan) };
  }
  if (store.plan()?.kind === "reset" && store.plan()?.done === false) throw alreadyThere();

  let plan: Plan;
  if (begun?.done === false && (master === undefined || isPlanOf(begun.plan, master))) {
    plan = begun.plan;
    if (!(await asksForSame(plan, recovery))) plan = { ...plan, recovery: await planRecovery(recovery) };
  } else {
    await dropLostPlan(store, master, nowMs());
    if (master !== undefined && !(await lacksRecoveryOnly(account))) throw alreadyThere();
    plan = await newPlan(account, recovery, master === undefined);
  }
  const save = (changed: Plan) => store.savePlan("set-up", changed, nowMs());
  await save(plan);
  const change = async (changed: Plan) => {
    plan = changed;
    await save(changed);
  };
  try {
    await establish(account, { kind: "set-up", plan, password, save: change });
  } catch (error) {
    await dropRefused(account, store, error, nowMs);
    throw error;
  }
  store.finishPlan();
  return { recoveryKey: recoveryKeyOf(plan) };
}

/** This device holds all that a recovery is made of, and the one on the server is not there or does not open all of it. */
async function lacksRecoveryOnly(account: OwnAccount): Promise<boolean> {
  const { identity, backup } = account;
  await identity.learn();
  const here = await identity.here();
  if (here.at !== "verified" || !identityKeys.every((name) => here.secrets[name])) return false;
  const [held, version] = [await backup.held(), await backup.find()];
  // a backup whose key is elsewhere is recovered, not covered by another
  if (version !== undefined && version.publicKey !== held?.publicKey && (await backup.verify(version)).signedByIdentity)
    return false;
  return (await inspect(account)).recovery !== "ready";
}
