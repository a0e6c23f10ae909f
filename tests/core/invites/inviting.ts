import { expect } from "vitest";
import type { Invite, InvitePreset, Join } from "../../../preload/contract/invites.ts";
import type { Core } from "../core.ts";
import { useHomeserver, type Person } from "../people.ts";
import { identityOf, setUp } from "../verification/verifying.ts";

type Link = Invite & { link: string };
type At = Join["state"]["at"];

/** One homeserver a test file, with people on it who have an identity: it takes that to show codes and to accept them. */
export function useInviting() {
  const people = useHomeserver();
  /** A further device of theirs, signed by their identity. */
  const another = async ({ account }: Person, recoveryKey: string): Promise<Person> => {
    const device = await people.person("device", await people.server().login(account));
    await device.core.ok("trust.recover", { recoveryKey });
    return device;
  };
  return {
    people,
    another,
    someone: async (name: string): Promise<Person> => {
      const person = await people.person(name);
      await setUp(person);
      return person;
    },
    twoDevices: async (name: string): Promise<{ laptop: Person; phone: Person; recoveryKey: string }> => {
      const laptop = await people.person(name);
      const recoveryKey = await setUp(laptop);
      return { laptop, phone: await another(laptop, recoveryKey), recoveryKey };
    },
  };
}

/** A code for oneself, or for a group. */
export const code = ({ core }: Pick<Person, "core">, preset: InvitePreset = "show", roomId?: string): Promise<Link> =>
  core.ok("invites.create", {
    kind: roomId === undefined ? "contact" : "group",
    preset,
    ...(roomId === undefined ? {} : { roomId }),
  });

export const accept = async ({ core }: Pick<Person, "core">, link: string): Promise<string> =>
  (await core.ok("invites.accept", { text: link })).joinId;

export const joinOf = async (core: Core, joinId: string): Promise<Join | undefined> =>
  (await core.ok("invites.joins", {})).find((join) => join.joinId === joinId);

/** The join, once it is where it is expected; fails at once where it is over elsewhere. */
export const joined = async <A extends At>(
  core: Core,
  joinId: string,
  at: A,
): Promise<Extract<Join["state"], { at: A }>> =>
  core.until(async () => {
    const state = (await joinOf(core, joinId))?.state;
    if (state?.at === at) return state as Extract<Join["state"], { at: A }>;
    if (state?.at === "failed" || state?.at === "done")
      throw new Error(`The join is ${JSON.stringify(state)}, expected ${at}.`);
    return undefined;
  }, at);

/** Accepts a code and waits for its end. */
export const join = async (
  { core }: Pick<Person, "core">,
  link: string,
): Promise<Extract<Join["state"], { at: "done" }>> => joined(core, await accept({ core }, link), "done");

/** A gate that failed says so in one line of the log. `from`: lines before it do not count. */
export const dropped = ({ core }: Pick<Person, "core">, gate: string, from = 0) =>
  core.until(
    () => Promise.resolve(core.logs.slice(from).some((line) => line.text.includes(`dropped (${gate})`))),
    gate,
  );

export const verified = (core: Core, userId: string) =>
  core.until(async () => (await identityOf(core, userId)) === "verified", "the tick");

export const chatsWith = async (core: Core, userId: string) =>
  (await core.ok("rooms.list", {})).filter((room) => room.kind === "dm" && room.directUserId === userId);

/** Both have each other as verified contacts in one encrypted chat. */
export async function expectContacts(one: Person, other: Person): Promise<string> {
  await Promise.all([verified(one.core, other.userId), verified(other.core, one.userId)]);
  const chats = (who: Person, whom: Person) =>
    who.core.until(async () => {
      const rooms = await chatsWith(who.core, whom.userId);
      return rooms.length > 0 && rooms.every((room) => room.membership === "join") && rooms;
    }, "the chat");
  const [mine, theirs] = await Promise.all([chats(one, other), chats(other, one)]);
  expect(mine).toHaveLength(1);
  expect(theirs.map((room) => room.roomId)).toEqual(mine.map((room) => room.roomId));
  expect(mine[0]?.encrypted).toBe(true);
  return mine[0]?.roomId ?? "";
}
