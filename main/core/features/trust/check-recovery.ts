import type { Secret } from "../../../../preload/contract/trust.ts";
import { identityKeys } from "../../matrix/identity-keys.ts";
import type { Way } from "../../matrix/secret-storage.ts";
import { secrets } from "./inspect.ts";
import type { OwnAccount } from "./own-account.ts";
import { openSecrets } from "./recover.ts";

type Drill = { ok: boolean; opens: Secret[]; sampleKeysDecrypted: number };

/** The recovery drill: what a new device would get with this key, tried for real, and nothing changed by it. */
export async function checkRecovery(account: OwnAccount, way: Way, rooms: string[]): Promise<Drill> {
  const opened = await openSecrets(account, await account.storage.unlock(way));
  const opens: Secret[] = identityKeys.filter((name) => opened.seeds[name] !== undefined);
  if (opened.backup === undefined) return { ok: false, opens, sampleKeysDecrypted: 0 };
  opens.push("backup");
  const sample = await account.backup.sample(opened.backup, rooms);
  return {
    ok: opens.length === secrets.length && sample.failed === 0,
    opens,
    sampleKeysDecrypted: sample.decrypted,
  };
}
