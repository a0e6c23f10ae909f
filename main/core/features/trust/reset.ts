import { object } from "../../json.ts";
import { defaultKeyType, keyType, secretNames } from "../../matrix/secret-storage.ts";
import type { IdentityStore } from "../../storage/identity-store.ts";
import { dropRefused, establish } from "./establish.ts";
import { newPlan, recoveryKeyOf, storedPlan, type Plan } from "./identity-plan.ts";
import { secrets } from "./inspect.ts";
import type { OwnAccount } from "./own-account.ts";

/**
 * A new identity in place of the old one, with new recovery and a new version of the backup, always from fresh keys: a server may
 * refuse one that it had before. What the old keys open stays: they are kept in account.db, and the old backup on the server.
 * A reset that was interrupted is finished, with the same keys.
 */
export async function reset(
  account: OwnAccount,
  store: IdentityStore,
  password: string | undefined,
  nowMs: () => number,
): Promise<{ recoveryKey: string }> {
  const begun = storedPlan(store, "reset");
  let plan = begun?.done === false ? begun.plan : undefined;
  if (plan === undefined) {
    const unfinished = store.plan();
    await store.keep("before-reset", await snapshot(account), nowMs());
    // a set-up that never came to its end may have left keys on the server that only its plan knows
    if (unfinished?.done === false) await store.keep("unfinished", unfinished.plan, nowMs());
    plan = await newPlan(account, { kind: "key" }, true);
    await store.savePlan("reset", plan, nowMs());
  }
  const save = async (changed: Plan) => {
    plan = changed;
    await store.savePlan("reset", changed, nowMs());
  };
  try {
    await establish(account, { kind: "reset", plan, password, save });
  } catch (error) {
    await dropRefused(account, store, error, nowMs);
    throw error;
  }
  store.finishPlan();
  return { recoveryKey: recoveryKeyOf(plan) };
}

/** Every key that this device holds, and every secret on the server as it is sealed there. */
async function snapshot({ identity, backup, storage }: OwnAccount): Promise<object> {
  const held = await backup.held();
  const sealed: Record<string, unknown> = {};
  const keyIds = new Set<string>();
  for (const name of secrets) {
    const content = await storage.read(secretNames[name]);
    sealed[secretNames[name]] = content;
    for (const keyId of Object.keys(object(content?.["encrypted"]) ?? {})) keyIds.add(keyId);
  }
  sealed[defaultKeyType] = await storage.read(defaultKeyType);
  for (const keyId of keyIds) sealed[keyType(keyId)] = await storage.read(keyType(keyId));
  return {
    identity: (await identity.onServer()).keys,
    seeds: await identity.exportSeeds(),
    ...(held === undefined ? {} : { backup: held }),
    backupVersion: (await backup.find())?.version,
    sealed,
  };
}
