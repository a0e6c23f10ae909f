import { expect } from "vitest";
import type { Flow, FlowState } from "../../../preload/contract/verification.ts";
import type { Core } from "../core.ts";
import type { Person, useHomeserver } from "../people.ts";

type At = FlowState["at"];
type StateOf<A extends At> = Extract<FlowState, { at: A }>;

export const setUp = async ({ core, account }: Person): Promise<string> =>
  (await core.ok("trust.setUp", { password: account.password, recovery: { kind: "key" } })).recoveryKey;

export const flowOf = async (core: Core, flowId: string): Promise<Flow | undefined> =>
  (await core.ok("verification.list", {})).find((flow) => flow.flowId === flowId);

/** The flow, once it is where it is expected; fails at once where it is over and was expected elsewhere. */
export const reached = async <A extends At>(core: Core, flowId: string, at: A): Promise<StateOf<A>> =>
  core.until(async () => {
    const state = (await flowOf(core, flowId))?.state;
    if (state?.at === at) return state as StateOf<A>;
    if (state?.at === "cancelled" || state?.at === "done")
      throw new Error(`The verification is ${JSON.stringify(state)}, expected ${at}.`);
    return undefined;
  }, at);

/** The flow that another began, once its request has arrived. */
export const asked = (core: Core, flowId: string): Promise<Flow> =>
  core.until(() => flowOf(core, flowId), "the request");

/** Asked and accepted: both are ready. */
export async function ready(asking: Person, asked_: Person, deviceId?: string): Promise<string> {
  const { flowId } = await asking.core.ok("verification.request", {
    userId: asked_.userId,
    ...(deviceId === undefined ? {} : { deviceId }),
  });
  await asked(asked_.core, flowId);
  await asked_.core.ok("verification.accept", { flowId });
  await Promise.all([asking, asked_].map(({ core }) => reached(core, flowId, "ready")));
  return flowId;
}

/** From ready to seven emoji on both screens, the same ones. */
export async function comparing(one: Person, other: Person, flowId: string): Promise<void> {
  await one.core.ok("verification.start", { flowId, method: "emoji" });
  const [a, b] = await Promise.all([one, other].map(({ core }) => reached(core, flowId, "comparing")));
  expect(a?.emoji).toHaveLength(7);
  expect(a).toEqual(b);
}

export const agree = (people: Person[], flowId: string) =>
  Promise.all(people.map(({ core }) => core.ok("verification.confirm", { flowId, same: true })));

export const done = (people: Person[], flowId: string) =>
  Promise.all(people.map(({ core }) => reached(core, flowId, "done")));

export const ended = (people: Person[], flowId: string) =>
  Promise.all(people.map(({ core }) => reached(core, flowId, "cancelled")));

export const identityOf = async (core: Core, userId: string) => (await core.ok("trust.user", { userId })).identity;

/** An encrypted direct chat that both are in. */
export async function directChat(one: Person, other: Person): Promise<string> {
  const { roomId } = await one.core.ok("rooms.create", { kind: "dm", invite: [other.userId] });
  await other.core.room(roomId);
  await other.core.ok("rooms.join", { room: roomId });
  await one.core.until(
    async () =>
      (await one.core.ok("rooms.members", { roomId })).find(
        (member) => member.userId === other.userId && member.membership === "join",
      ),
    "the other in the chat",
  );
  return roomId;
}

/** One shows a code, the other reads it, and the one who showed it says that the other's device shows a tick. */
export async function byCode(shows: Person, scans: Person, flowId: string): Promise<Buffer> {
  const { bytes } = await shows.core.ok("verification.showQr", { flowId });
  await scans.core.ok("verification.scanQr", { bytes });
  await reached(shows.core, flowId, "qr-scanned");
  await shows.core.ok("verification.confirm", { flowId, same: true });
  return Buffer.from(bytes, "base64");
}

/** Two people who have never verified each other, in a direct chat. */
export async function strangers({ person }: ReturnType<typeof useHomeserver>): Promise<[Person, Person, string]> {
  const [one, other] = await Promise.all([person("one"), person("other")]);
  await Promise.all([setUp(one), setUp(other)]);
  return [one, other, await directChat(one, other)];
}
