import type { TrustStatus } from "../../../../preload/contract/trust.ts";
import { asCoreError } from "../../errors.ts";
import { texts } from "../../json.ts";
import type { IdentityStore } from "../../storage/identity-store.ts";
import { inspect, type Inspection } from "./inspect.ts";
import type { OwnAccount } from "./own-account.ts";

/** How long the server's side of it counts as known where nothing said that it changed. */
const freshMs = 60_000;
const away = new Set(["unreachable", "timeout", "rate-limited", "cancelled"]);

/** What the person is told of identity and recovery. The server is asked again where something may have changed there. */
export function createStatus(store: IdentityStore, nowMs: () => number, isBeingAnswered: () => boolean) {
  let stale = true;
  let asked = 0;

  const serverSide = async (account: OwnAccount): Promise<Inspection> => {
    const known = store.check();
    if (!stale && known !== undefined && Math.abs(nowMs() - known.atMs) < freshMs) return inspectionFrom(known.content);
    const mine = ++asked;
    try {
      const found = await inspect(account);
      store.setCheck(found, nowMs());
      // what changed while the server was being asked is asked about again
      if (mine === asked) stale = false;
      return found;
    } catch (error) {
      if (!away.has(asCoreError(error).code)) throw error;
      const before = known === undefined ? undefined : inspectionFrom(known.content);
      return { recovery: before?.recovery ?? "none", problems: [...(before?.problems ?? []), "server-not-asked"] };
    }
  };

  return {
    changed: () => {
      stale = true;
      asked++;
    },
    read: async (account: OwnAccount): Promise<TrustStatus> => {
      const { recovery, problems } = await serverSide(account);
      const here = await account.identity.here();
      const held = await account.backup.held();
      const journal = journalProblem(store.plan(), isBeingAnswered());
      return {
        identity: here.at,
        secrets: { ...here.secrets, backup: held !== undefined },
        recovery,
        problems: [...(journal === undefined ? [] : [journal]), ...problems],
      };
    },
  };
}

function journalProblem(plan: ReturnType<IdentityStore["plan"]>, answering: boolean): string | undefined {
  if (plan === undefined || (plan.done && answering)) return undefined;
  if (plan.done) return "recovery-key-not-seen";
  return plan.kind === "reset" ? "reset-unfinished" : "set-up-unfinished";
}

function inspectionFrom(content: Record<string, unknown>): Inspection {
  const recovery = (["none", "ready", "incomplete"] as const).find((one) => one === content["recovery"]) ?? "none";
  return { recovery, problems: texts(content["problems"]) };
}
