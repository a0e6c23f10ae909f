import { expect, test, vi } from "vitest";
import { useHomeserver, type Person } from "../people.ts";
import { setUp } from "../verification/verifying.ts";
import { accept, chatsWith, code, join, joined, verified } from "./inviting.ts";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 300_000 });
const people = useHomeserver();

const isHandshake = { method: "PUT", path: /\/sendToDevice\/(chat\.tessera|m\.room\.encrypted)/ };
const membersOf = async ({ core }: Person, roomId: string) =>
  (await core.ok("rooms.members", { roomId })).flatMap((member) =>
    member.membership === "join" || member.membership === "invite" ? [member.userId] : [],
  );
/** What an administrator's other client would do. */
const setState = (who: Person, roomId: string, type: string, content: unknown) =>
  people.putState(who.account, roomId, type, content);
const raiseInviteLevel = async (who: Person, roomId: string) => {
  const path = `v3/rooms/${encodeURIComponent(roomId)}/state/m.room.power_levels/`;
  const levels = await people.server().api<Record<string, unknown>>("GET", path, { token: who.account.accessToken });
  await setState(who, roomId, "m.room.power_levels", { ...levels, invite: 50 });
};

test("scenarios 12 to 14: a group's code lets in, knocks where the right is gone, and is dead where its maker was removed", async () => {
  const [carol, alice, bob] = await Promise.all(["carol", "alice", "bob"].map((name) => people.person(name)));
  if (carol === undefined || alice === undefined || bob === undefined) throw new Error("nobody is there");
  await Promise.all([setUp(alice), setUp(bob)]);
  const roomId = await people.room(carol, [alice], { name: "Climbing" });
  const [first, second, third] = [
    await code(alice, "show", roomId),
    await code(alice, "personal-link", roomId),
    await code(alice, "public", roomId),
  ];

  // scenario 12
  const done = await join(bob, first.link);
  expect(done).toEqual({ at: "done", result: "mutual", roomId });
  await Promise.all([verified(alice.core, bob.userId), verified(bob.core, alice.userId)]);
  expect((await bob.core.room(roomId)).membership).toBe("join");
  expect([...(await chatsWith(alice.core, bob.userId)), ...(await chatsWith(bob.core, alice.userId))]).toEqual([]);
  await bob.core.say(roomId, "I am in");
  await alice.core.message(roomId, "I am in");
  const before = bob.proxy.seen(isHandshake).length;
  await join(bob, first.link);
  await bob.core.sync();
  expect(bob.proxy.seen(isHandshake)).toHaveLength(before);

  // scenario 13: she may not invite any more, the room lets people knock
  await bob.core.ok("rooms.leave", { roomId });
  await setState(carol, roomId, "m.room.join_rules", { join_rule: "knock" });
  await raiseInviteLevel(carol, roomId);
  await alice.core.sync();
  const asking = await accept(bob, second.link);
  expect(await joined(bob.core, asking, "blocked")).toEqual({ at: "blocked", code: "no-permission" });
  await carol.core.until(
    async () => (await carol.core.ok("rooms.members", { roomId })).some((one) => one.membership === "knock"),
    "the knock",
  );
  expect((await alice.core.ok("invites.list", {})).find((one) => one.tokenId === second.tokenId)?.uses).toEqual([
    bob.userId,
  ]);
  const refused = await alice.core.call("invites.create", { kind: "group", roomId, preset: "show" });
  expect(refused.ok ? undefined : refused.error.code).toBe("forbidden");

  // let in by somebody who may, it is done
  await carol.core.ok("rooms.invite", { roomId, userId: bob.userId });
  await bob.core.until(async () => (await bob.core.room(roomId)).membership === "invite", "the invitation");
  await bob.core.ok("rooms.join", { room: roomId });
  expect(await joined(bob.core, asking, "done")).toEqual({ at: "done", result: "mutual", roomId });

  // scenario 14: whoever was removed lets nobody in, and is not brought back by her own code
  await bob.core.ok("rooms.leave", { roomId });
  await carol.core.ok("rooms.remove", { roomId, userId: alice.userId });
  await alice.core.until(
    async () => (await alice.core.ok("rooms.list", { roomIds: [roomId] })).every((room) => room.membership !== "join"),
    "the removal",
  );
  expect(await joined(bob.core, await accept(bob, third.link), "failed")).toEqual({ at: "failed", code: "gone" });
  await carol.core.sync();
  expect(await membersOf(carol, roomId)).toEqual([carol.userId]);
});
