import type { Secret, TrustStatus } from "../../../../preload/contract/trust.ts";
import { secretNames } from "../../matrix/secret-storage.ts";
import type { OwnAccount } from "./own-account.ts";

export const secrets = ["master", "selfSigning", "userSigning", "backup"] as const satisfies Secret[];
/** What the server has, held against what this device has. */
export type Inspection = Pick<TrustStatus, "recovery" | "problems">;

const kebab = {
  master: "master-key",
  selfSigning: "self-signing-key",
  userSigning: "user-signing-key",
  backup: "backup-key",
};

/** Looks, and changes nothing. Every problem is a stable code, listed in docs/contract.md. */
export async function inspect(account: OwnAccount): Promise<Inspection> {
  const { identity, backup, storage } = account;
  const [server, here, version, held, defaultKey] = await Promise.all([
    identity.onServer(),
    identity.here(),
    backup.find(),
    backup.held(),
    storage.defaultKey(),
  ]);
  const storedUnder = await Promise.all(secrets.map((name) => storage.keysOf(secretNames[name])));
  const problems: string[] = [];
  const note = (holds: boolean, problem: string) => {
    if (holds) problems.push(problem);
  };

  const hasIdentity = server.keys.master !== undefined;
  if (hasIdentity) {
    note(server.keys.selfSigning === undefined, "self-signing-key-missing-on-server");
    note(server.keys.userSigning === undefined, "user-signing-key-missing-on-server");
    note(here.at !== "none" && here.keys.master !== server.keys.master, "identity-changed");
    const known = here.at !== "none" && here.keys.master === server.keys.master;
    note(known && !here.identityVerified && here.violated, "identity-changed");
    note(known && here.identityVerified && (!here.deviceSigned || server.device !== "signed"), "device-not-signed");
    for (const name of ["master", "selfSigning", "userSigning"] as const)
      note(known && here.identityVerified && !here.secrets[name], `${kebab[name]}-missing-here`);
  } else note(here.at !== "none", "identity-missing-on-server");

  if (version === undefined) note(hasIdentity, "backup-missing");
  else if (version.publicKey === undefined) problems.push("backup-of-unknown-kind");
  else if (here.at === "verified") {
    if (held === undefined) problems.push("backup-key-missing-here");
    else note(held.publicKey !== version.publicKey, "backup-key-differs");
    const trust = await backup.verify(version);
    note(held?.publicKey === version.publicKey && !trust.signedByIdentity, "backup-not-signed");
  }

  if (defaultKey.at === "none") {
    note(hasIdentity, "recovery-missing");
    return { recovery: "none", problems };
  }
  if (defaultKey.at === "unknown") problems.push("storage-key-unknown");
  else if (defaultKey.description.at === "refused")
    problems.push(
      {
        "unknown-algorithm": "storage-of-unknown-kind",
        "no-key-check": "storage-key-unchecked",
        malformed: "storage-key-malformed",
      }[defaultKey.description.reason],
    );
  const before = problems.length;
  for (const [index, name] of secrets.entries())
    if (!(storedUnder[index] ?? []).includes(defaultKey.keyId)) problems.push(`${kebab[name]}-missing-in-storage`);
  const usable = defaultKey.at === "described" && defaultKey.description.at === "known";
  return { recovery: usable && problems.length === before ? "ready" : "incomplete", problems };
}
