import type { Failure } from "../../../preload/contract/define.ts";
import type { Recipients, WithheldReason } from "../../../preload/contract/trust.ts";
import type { Person, useHomeserver } from "../people.ts";
import { accountOnServer } from "./account-on-server.ts";
import { MadeUpPerson, Signer, tellOf } from "./made-up-keys.ts";

type People = ReturnType<typeof useHomeserver>;

/** One app, whose server says of the others what the test makes up. */
export async function sceneOf(people: People, names: string[], { setUp = true } = {}) {
  const alice = await people.person("alice");
  const others = await Promise.all(names.map(async (name) => new MadeUpPerson((await people.account(name)).userId)));
  const byName = new Map(names.map((name, index) => [name, others[index]]));
  const wire = tellOf(alice.proxy, () => others);
  let userSigning: Signer | undefined;
  const begin = async () => {
    const { recoveryKey } = await alice.core.ok("trust.setUp", {
      password: alice.account.password,
      recovery: { kind: "key" },
    });
    const seed = await accountOnServer(people.server(), alice.account).secret(
      "m.cross_signing.user_signing",
      recoveryKey,
    );
    userSigning = new Signer(seed);
  };
  if (setUp) await begin();

  return {
    alice,
    others,
    wire,
    /** Sets up the app's own identity, where that was left out. */
    setUp: begin,
    person: (name: string): MadeUpPerson => {
      const person = byName.get(name);
      if (person === undefined) throw new Error(`There is no ${name} in this scene.`);
      return person;
    },
    /** As if the app's person had compared emoji with them. */
    verify: (person: MadeUpPerson) => {
      if (userSigning === undefined) throw new Error("No identity was set up.");
      person.verifyAs(alice.userId, userSigning);
    },
    /** An encrypted room of all of them. */
    room: async (members = others): Promise<string> =>
      (await alice.core.ok("rooms.create", { kind: "group", invite: members.map(({ userId }) => userId) })).roomId,
    /** The app has heard that their keys changed, and has asked for them. */
    heard: async (...changed: MadeUpPerson[]): Promise<void> => {
      wire.change(...changed.map(({ userId }) => userId));
      await alice.core.sync();
      // whoever shares no room with the app is not asked about; looking at somebody asks
      for (const { userId } of changed) await alice.core.ok("trust.user", { userId });
    },
  };
}
export type Scene = Awaited<ReturnType<typeof sceneOf>>;

/** Sends, and waits until that has succeeded or failed. */
export async function sendOrFail(
  { core }: Person,
  roomId: string,
  body: string,
): Promise<{ failure?: Failure; itemId: string }> {
  const itemId = await core.send(roomId, body);
  const item = await core.item(
    roomId,
    (one) => one.itemId === itemId && (one.state === "sent" || one.state === "failed"),
    "an item that was sent or failed",
  );
  return item.failure === undefined ? { itemId } : { itemId, failure: item.failure };
}

export const codeOf: Record<WithheldReason, string> = {
  "unsigned-device": "m.unverified",
  "unverified-user": "m.unverified",
  "identity-changed": "m.unverified",
  blocked: "m.blacklisted",
  "no-keys": "m.no_olm",
  "keys-unreachable": "m.no_olm",
};
const nameOf = ({ userId, deviceId }: { userId: string; deviceId: string }) => `${userId}|${deviceId}`;
export const readersIn = (recipients: Recipients) => recipients.receives.map(nameOf).sort();
export const codesIn = (recipients: Recipients) =>
  recipients.withheld.map(({ device, reason }) => `${nameOf(device)} ${codeOf[reason]}`).sort();
export const readersOn = ({ wire: { seen } }: Scene) => [...seen.readers].sort();
export const codesOn = ({ wire: { seen } }: Scene) =>
  [...seen.withheld].map(([name, code]) => `${name} ${code}`).sort();
