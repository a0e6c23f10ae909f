import { randomUUID } from "node:crypto";
import type { Account } from "../../homeserver/homeserver.ts";
import type { Core } from "../core.ts";
import type { Person, useHomeserver } from "../people.ts";
import type { Rooms } from "./made-up-backup.ts";

type Version = { version: string; count: number; auth_data: { public_key: string } };
/** Synapse answers 500 where a request names many more. */
const roomsAtOnce = 500;
const sessionsAtOnce = 5000;

/** People with a backup, and the backup as the server has it. */
export function backupScene({ server, person }: Pick<ReturnType<typeof useHomeserver>, "server" | "person">) {
  const versionOf = (account: Account) =>
    server().api<Version>("GET", "v3/room_keys/version", { token: account.accessToken });
  return {
    versionOf,
    publicKeyOf: async (account: Account) => (await versionOf(account)).auth_data.public_key,
    put: async (account: Account, all: Rooms) => {
      const { version } = await versionOf(account);
      for (const rooms of batchesOf(all))
        await server().api("PUT", "v3/room_keys/keys", {
          token: account.accessToken,
          query: { version },
          body: { rooms },
        });
    },
    /** Somebody with an identity, recovery and a backup. */
    safe: async (name: string, passphrase?: string): Promise<Person & { recoveryKey: string }> => {
      const one = await person(name);
      const { recoveryKey } = await one.core.ok("trust.setUp", {
        password: one.account.password,
        recovery: passphrase === undefined ? { kind: "key" } : { kind: "passphrase", passphrase },
      });
      return { ...one, recoveryKey };
    },
    /** The same account on a computer that has nothing of it. */
    newDevice: async (of: Person): Promise<Person> => person("again", await server().login(of.account)),
    uploaded: (core: Core) =>
      core.until(async () => {
        const status = await core.ok("backup.status", {});
        return status.at === "on" && status.total > 0 && status.backedUp === status.total ? status : undefined;
      }, "a backup of all keys"),
    restore: (core: Core, recoveryKey?: string, operationId = randomUUID() as string) =>
      core.ok("backup.restore", { operationId, ...(recoveryKey === undefined ? {} : { recoveryKey }) }),
  };
}

function* batchesOf(all: Rooms): Generator<Rooms> {
  let batch: Rooms = {};
  let sessions = 0;
  for (const [roomId, room] of Object.entries(all))
    for (const [sessionId, session] of Object.entries(room.sessions)) {
      (batch[roomId] ??= { sessions: {} }).sessions[sessionId] = session;
      if (++sessions % sessionsAtOnce !== 0 && Object.keys(batch).length < roomsAtOnce) continue;
      yield batch;
      batch = {};
    }
  yield batch;
}
