import type { accountCoreCommands } from "../../../../preload/contract/account.ts";
import type { CoreCommandName, Handlers } from "../../../../preload/contract/index.ts";
import { asCoreError } from "../../errors.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";

type Names = Extract<keyof typeof accountCoreCommands, CoreCommandName>;
type Parts = {
  http: Http;
  loop: { syncNow: (timeoutMs: number | undefined) => Promise<number> };
  crypto: () => Promise<Crypto>;
  /** Those of which a key is in no backup. */
  roomsNotBackedUp: () => string[];
};
type Internal = {
  "account.atRisk": () => Promise<{ unbackedUp: number; total: number; conversations: number }>;
  "account.endSession": () => Promise<Record<string, never>>;
};

export function createAccountHandlers({ http, loop, crypto, roomsNotBackedUp }: Parts): Handlers<Names> & Internal {
  return {
    "account.sync": async ({ timeoutMs }) => ({ at: await loop.syncNow(timeoutMs) }),

    "account.atRisk": async () => {
      const counts = await (await crypto()).sessionCount();
      const unbackedUp = counts.total - counts.backedUp;
      return { unbackedUp, total: counts.total, conversations: unbackedUp === 0 ? 0 : roomsNotBackedUp().length };
    },

    "account.endSession": async () => {
      await http
        .request("POST", "/_matrix/client/v3/logout", { body: {}, timeoutMs: 10_000 })
        .catch((error: unknown) => {
          // a session that the server no longer knows is over already
          if (asCoreError(error).code !== "not-signed-in") throw error;
        });
      return {};
    },
  };
}
