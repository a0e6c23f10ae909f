import path from "node:path";
import * as v from "valibot";
import type { Session } from "../core/worker-port.ts";
import { HostError } from "./host-error.ts";
import { seal, unseal } from "./key-derivation.ts";
import { readTwin, writeTwin } from "./twin-file.ts";

const text = v.pipe(v.string(), v.minLength(1));
const folder = v.pipe(v.string(), v.regex(/^[a-z0-9]{32}$/));
const session = { userId: text, deviceId: text, homeserver: text, accessToken: text };
const registrySchema = v.strictObject({
  accounts: v.array(v.strictObject({ folder, ...session })),
  /** Folders of accounts that were signed out: to be deleted, and the only ones that ever are. */
  doomed: v.array(folder),
  /** Sessions that were made and are no account's yet: to be ended on their server, where none takes them. */
  unclaimed: v.optional(v.array(v.strictObject(session))),
});
export type RegisteredAccount = Session & { folder: string };
export type Registry = {
  readonly accounts: readonly RegisteredAccount[];
  readonly doomed: readonly string[];
  readonly unclaimed?: readonly Session[] | undefined;
};

type Key = { key: Uint8Array; profileId: string };
const version = 1;
const boundTo = (profileId: string) => `tessera accounts ${version} ${profileId}`;
const fileIn = (profile: string) => path.join(profile, "accounts.sealed");

/** Throws `database-corrupt` where file and copy are damaged or were sealed for another profile; they are never replaced then. */
export function readRegistry(profile: string, { key, profileId }: Key): Registry {
  const registry = readTwin(fileIn(profile), (sealed) => {
    const plain = sealed[0] === version ? unseal(key, sealed.subarray(1), boundTo(profileId)) : undefined;
    if (plain === undefined) return undefined;
    const parsed = v.safeParse(registrySchema, JSON.parse(plain.toString("utf8")));
    plain.fill(0);
    return parsed.success ? parsed.output : undefined;
  });
  if (registry === "corrupt") throw new HostError("database-corrupt");
  return registry ?? { accounts: [], doomed: [] };
}

export function writeRegistry(profile: string, { key, profileId }: Key, registry: Registry): void {
  const plain = Buffer.from(JSON.stringify(registry), "utf8");
  const sealed = seal(key, plain, boundTo(profileId));
  plain.fill(0);
  writeTwin(fileIn(profile), Buffer.concat([Uint8Array.of(version), sealed]));
}
