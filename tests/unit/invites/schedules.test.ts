import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { InvitePreset } from "../../../preload/contract/invites.ts";
import { createWorld, type World } from "./world.ts";

/**
 * Random schedules over the real handshake: two devices of the inviter, two joiners, and a server that loses, doubles, keeps back,
 * reorders, rewrites and forges, while devices are killed and started. Whatever it does, the invariants hold; once it is honest, all
 * joins come to their end.
 */
const nowMs = 1_800_000_000_000;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"], now: nowMs });
});
afterEach(() => {
  vi.useRealTimers();
});

type Step =
  | { kind: "deliver" | "lose" | "double" | "damage" | "reflect" | "rename"; which: number }
  | { kind: "replay"; which: number }
  | { kind: "pass"; ms: number }
  | { kind: "kill"; who: number }
  | { kind: "join"; who: number }
  | { kind: "swap"; who: number }
  | { kind: "honest" }
  | { kind: "offline" | "online" };
const index = fc.nat(1_000);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("deliver" as const), which: index }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "lose" as const,
        "double" as const,
        "damage" as const,
        "reflect" as const,
        "rename" as const,
      ),
      which: index,
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("replay" as const), which: index }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("pass" as const),
      ms: fc.constantFrom(500, 2_000, 61_000, 601_000, 3_700_000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("kill" as const), who: fc.nat(3) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("join" as const), who: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("swap" as const), who: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "honest" as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("offline" as const, "online" as const) }) },
);

async function scene(made: World, preset: InvitePreset, ofGroup: boolean) {
  const [a, b, c] = [made.addUser("@alice:one.test"), made.addUser("@bob:two.test"), made.addUser("@cleo:three.test")];
  const [laptop, phone] = [made.addDevice(a, "LAPTOP"), made.addDevice(a, "PHONE")];
  const joiners = [made.addDevice(b, "BDEV"), made.addDevice(c, "CDEV")];
  for (const one of made.people) await one.start();
  let group: string | undefined;
  if (ofGroup) {
    group = "!group:test";
    made.chats.push({ roomId: group, maker: a.userId, members: new Map([[a.userId, "join"]]) });
  }
  const code = await laptop.create(preset, group);
  await made.flow(3_000);
  expect(phone.handshake.tokens.list()).toHaveLength(1);
  return { a, laptop, phone, joiners, code, group };
}
type Scene = Awaited<ReturnType<typeof scene>>;

async function take(made: World, { joiners, code }: Scene, one: Step): Promise<void> {
  const { letters } = made;
  const at = (which: number) => which % Math.max(letters.length, 1);
  const remove = (which: number) => letters.splice(at(which), 1)[0];
  switch (one.kind) {
    case "deliver": {
      const letter = remove(one.which);
      if (letter !== undefined) made.deliver(letter);
      break;
    }
    case "lose":
      remove(one.which);
      break;
    case "double": {
      const letter = letters[at(one.which)];
      if (letter !== undefined) letters.push(letter);
      break;
    }
    case "damage": {
      const letter = remove(one.which);
      if (letter === undefined) break;
      const names = Object.keys(letter.content).filter((name) => typeof letter.content[name] === "string");
      const name = names[one.which % names.length] ?? "c";
      const value = String(letter.content[name]);
      const place = one.which % value.length;
      const other = value[place] === "A" ? "B" : "A";
      const content = { ...letter.content, [name]: value.slice(0, place) + other + value.slice(place + 1) };
      made.deliver({ ...letter, content });
      break;
    }
    case "reflect": {
      const letter = letters[at(one.which)];
      const back = letter && made.people.find((person) => person.user.userId === letter.sender);
      if (letter !== undefined && back !== undefined)
        made.deliver({ ...letter, sender: letter.userId, userId: letter.sender, deviceId: back.device.deviceId });
      break;
    }
    case "rename": {
      // the server says that somebody else sent it
      const letter = letters[at(one.which)];
      const other = made.people[one.which % made.people.length]?.user.userId;
      if (letter !== undefined && other !== undefined) made.deliver({ ...letter, sender: other });
      break;
    }
    case "replay": {
      const letter = made.recorded[one.which % Math.max(made.recorded.length, 1)];
      if (letter !== undefined) made.deliver(letter);
      break;
    }
    case "pass":
      await made.pass(one.ms);
      break;
    case "kill":
      await made.people[one.who % made.people.length]?.restart();
      break;
    case "join":
      await joiners[one.who]?.join(code.link).catch(() => undefined);
      break;
    case "swap": {
      // to everybody else this person is somebody that the server made up, down to their devices
      const victim = made.people[one.who % made.people.length]?.user;
      if (victim === undefined) break;
      const fake = {
        userId: victim.userId,
        masterKey: randomBytes(32).toString("base64").replace(/=+$/, ""),
        devices: victim.devices,
      };
      for (const { user } of made.people)
        if (user !== victim) made.world.forged.set(`${user.userId} ${victim.userId}`, fake);
      break;
    }
    case "honest":
      made.world.forged.clear();
      break;
    case "offline":
    case "online":
      made.world.online = one.kind === "online";
      break;
  }
  await made.settle();
}

function checkInvariants(made: World, { a, laptop, phone, code, group }: Scene): void {
  // no signature for a key that the code, or a proof of its holder, does not name
  for (const { userId, masterKey } of made.signatures) expect(masterKey).toBe(made.users.get(userId)?.masterKey);
  // nobody signs but who took part, and the inviter signs each joiner's key alone
  for (const { by, userId } of made.signatures) expect([by, userId]).toContain(a.userId);
  const accepted = new Set<string>();
  for (const device of [laptop, phone]) {
    const rows = device.db.all<{ user_id: string; master_key: string; accepted: number }>("select * from invite_uses");
    for (const row of rows) {
      // no effect without a proof: nobody but the joiners themselves can make one
      expect(row.master_key).toBe(made.users.get(row.user_id)?.masterKey);
      if (row.accepted === 1) accepted.add(row.user_id);
    }
    const works = device.db.all<{ user_id: string }>("select user_id from invite_work");
    for (const { user_id: userId } of works) expect(rows.map((row) => row.user_id)).toContain(userId);
  }
  if (code.preset === "personal-link" && accepted.size > 1) {
    const alarms = [...laptop.handshake.tokens.alarms(), ...phone.handshake.tokens.alarms()];
    expect(alarms.map((alarm) => alarm.kind)).toContain("two-users");
  }
  // effects are idempotent: one chat for each pair, and a group holds nobody who did not prove
  const pairs = made.chats
    .filter((chat) => chat.roomId !== group)
    .map((chat) => [...chat.members.keys()].sort().join());
  expect(new Set(pairs).size).toBe(pairs.length);
  for (const member of made.chats.find((chat) => chat.roomId === group)?.members.keys() ?? [])
    if (member !== a.userId) expect([...accepted]).toContain(member);
}

async function run(preset: InvitePreset, ofGroup: boolean, steps: Step[]): Promise<void> {
  vi.setSystemTime(nowMs);
  const made = createWorld();
  try {
    const all = await scene(made, preset, ofGroup);
    for (const one of all.joiners) await one.join(all.code.link);
    for (const one of steps) {
      await take(made, all, one);
      checkInvariants(made, all);
    }
    // from here on the server is honest
    made.world.forged.clear();
    made.world.online = true;
    for (const { link } of [all.code]) for (const one of all.joiners) await one.join(link).catch(() => undefined);
    const isOver = () =>
      all.joiners.every((one) =>
        one.handshake.joins.list().every((join) => join.state.at === "done" || join.state.at === "failed"),
      );
    for (let hours = 0; hours < 60 && !isOver(); hours++) {
      await made.flow(4_000);
      if (!isOver()) await made.pass(hours < 10 ? 61_000 : 3_600_000);
    }
    checkInvariants(made, all);
    for (const one of all.joiners) {
      const states = one.handshake.joins.list().map((join) => join.state);
      for (const state of states) expect(["done", "failed"]).toContain(state.at);
      if (preset !== "public") continue;
      // many uses and no end: whoever met an honest server at last is in
      const last = states[0];
      expect(last?.at === "done" || (last?.at === "failed" && last.code === "keys-differ")).toBe(true);
    }
  } finally {
    await made.close();
  }
}

const steps = fc.array(step, { maxLength: 40 });
const full = process.env["TESSERA_FULL"] === "1";
const runs = Number(process.env["SCHEDULES"] ?? (full ? 25 : 5));
for (const [preset, ofGroup] of [
  ["show", false],
  ["personal-link", false],
  ["public", false],
  ["public", true],
] as const)
  test(`whatever the server does to a ${preset} code of a ${ofGroup ? "group" : "contact"}, the invariants hold`, async () => {
    await fc.assert(
      fc.asyncProperty(steps, (schedule) => run(preset, ofGroup, schedule)),
      { numRuns: runs, ...(full || runs > 5 ? {} : { seed: 20_260 }) },
    );
  }, 600_000);
