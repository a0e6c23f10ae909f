import type { Secret } from "../../../preload/contract/trust.ts";
import type { AccountDatabase } from "./database.ts";

export type RescuedSecretsStore = ReturnType<typeof createRescuedSecrets>;

/** Secrets of a device whose store was damaged, until the next one has put them to use or found that they are no longer the account's. */
export function createRescuedSecrets(db: AccountDatabase) {
  return {
    keep: (secrets: Partial<Record<Secret, string>>) => {
      db.transaction(() => {
        for (const [name, secret] of Object.entries(secrets))
          db.run("insert or replace into rescued_secrets(name, secret) values(?, ?)", name, secret);
      });
    },
    names: (): Secret[] =>
      db.all<{ name: Secret }>("select name from rescued_secrets order by name").map(({ name }) => name),
    all: (): Partial<Record<Secret, string>> =>
      Object.fromEntries(
        db
          .all<{ name: Secret; secret: string }>("select name, secret from rescued_secrets")
          .map((row) => [row.name, row.secret]),
      ),
    clear: () => db.run("delete from rescued_secrets"),
  };
}
