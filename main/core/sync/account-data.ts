import { asCoreError, CoreError } from "../errors.ts";
import { createTurns } from "../in-turn.ts";
import { object, type Json } from "../json.ts";
import { log } from "../log.ts";
import type { Http } from "../matrix/http.ts";
import type { AccountStore } from "../storage/account-store.ts";

type Parts = {
  http: Http;
  account: AccountStore;
  me: string;
  /** The server's own value took the place of what was here. */
  settled: (type: string, content: Json) => void;
};

/**
 * Account data that this device writes. The answer of a sync that was under way meanwhile may hold an older value, or a newer one of
 * another client: what was written stays (account-store.ts), and the server is asked which of the two stands.
 * Source: client-server API, "Client Config".
 */
export function createAccountData({ http, account, me, settled }: Parts) {
  const pathOf = (type: string) =>
    `/_matrix/client/v3/user/${encodeURIComponent(me)}/account_data/${encodeURIComponent(type)}`;
  // one at a time: a change is made to what the change before it left
  const inTurn = createTurns();

  const ask = async (type: string): Promise<void> => {
    const content = object(await http.request("GET", pathOf(type)));
    if (content === undefined)
      throw new CoreError("unreachable", {
        message: "The server's answer is no account data.",
        details: { kind: "bad-answer" },
      });
    account.learnAccountData(type, content);
    account.setDoubtful(type, false);
    settled(type, content);
  };

  const settle = async (): Promise<void> => {
    for (const type of account.doubtful())
      try {
        await ask(type);
      } catch (error) {
        const known = asCoreError(error);
        // never written, or no longer there: what is here may stay
        if (known.code === "not-found") account.setDoubtful(type, false);
        else log.info(`account data was not asked for again yet: ${known.code}`);
      }
  };

  return {
    /** Writes what `next` makes of the present value; resolves once the server has it. */
    change: (type: string, next: (now: Json) => Json): Promise<Json> =>
      inTurn(async () => {
        const begunAt = account.syncNumber();
        const content = next(account.accountData(type) ?? {});
        await http.request("PUT", pathOf(type), { body: content });
        // what a sync brought meanwhile may be another client's later value
        if (account.accountDataSyncedAt(type) > begunAt) account.setDoubtful(type, true);
        account.learnAccountData(type, content);
        return content;
      }),
    /** After a sync: asks the server where it is not known which value is the newer one. */
    settle: (): void => {
      if (account.doubtful().length > 0) void inTurn(settle);
    },
  };
}
