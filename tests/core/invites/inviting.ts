import { expect } from "vitest";
import type { Invite, InvitePreset, Join } from "../../../preload/contract/invites.ts";
import type { Core } from "../core.ts";
import type { Person } from "../people.ts";

type Link = Invite & { link: string };
type At = Join["state"]["at"];

export const setUp = async ({ core, account }: Person): Promise<string> =>
  (await core.ok("trust.setUp", { password: account.password, recovery: { kind: "key" } })).recoveryKey;

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

export const identityOf = async (core: Core, userId: string) => (await core.ok("trust.user", { userId })).identity;

export const verified = (core: Core, userId: string) =>
  core.until(async () => (await identityOf(core, userId)) === "verified", "the tick");

export const chatsWith = async (core: Core, userId: string) =>
  (await core.ok("rooms.list", {})).filter((room) => room.kind === "dm" && room.directUserId === userId);

/** Both have each other as verified contacts in one encrypted chat. */
export async function expectContacts(one: Person, other: Person): Promise<string> {
  await Promise.all([verified(one.core, other.userId), verified(other.core, one.userId)]);
  const [mine, theirs] = await Promise.all([
    one.core.until(async () => {
      const rooms = await chatsWith(one.core, other.userId);
      return rooms.length > 0 && rooms.every((room) => room.membership === "join") && rooms;
    }, "the chat"),
    chatsWith(other.core, one.userId),
  ]);
  expect(mine).toHaveLength(1);
  expect(theirs.map((room) => room.roomId)).toEqual(mine.map((room) => room.roomId));
  expect(mine[0]?.encrypted).toBe(true);
  return mine[0]?.roomId ?? "";
}
