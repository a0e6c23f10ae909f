import { expect, test, vi } from "vitest";
import { parseText } from "../../../main/core/features/invites/link.ts";
import type { Invite } from "../../../preload/contract/invites.ts";
import { restarted, sameAs, startCore, type Core } from "../core.ts";
import { otherClient } from "../other-client.ts";
import { eventually, isSync, isToDevice } from "../people.ts";
import { accept, code, expectContacts, join, joined, useInviting } from "./inviting.ts";

// several people are set up in each test; a time-out is there to end a hang, not to judge a busy machine
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const { people, someone, twoDevices } = useInviting();
const noteType = "chat.tessera.securejoin.note";

const alices = () => twoDevices("alice");
/** Setting up takes long: whoever breaks nothing shares one pair. */
let pair: ReturnType<typeof alices> | undefined;
const shared = () => (pair ??= alices());
const invite = async ({ core }: { core: Core }, tokenId: string): Promise<Invite | undefined> =>
  (await core.ok("invites.list", {})).find((one) => one.tokenId === tokenId);
/** Once this device's code is so. */
const shows = (device: { core: Core }, tokenId: string, fits: (invite: Invite) => boolean, what: string) =>
  device.core.until(async () => {
    const found = await invite(device, tokenId);
    return found !== undefined && fits(found) && found;
  }, what);
const isNote = { ...isToDevice, path: /\/sendToDevice\/m\.room\.encrypted\/n/ };
/** Digits are there where the exchange was. */
const common = ({ ownedHere: _, digits: _digits, ...rest }: Invite) => rest;

test("a code, its withdrawal, its revival and who used it are the same on both of her devices, over Olm alone", async () => {
  const { laptop, phone } = await shared();
  const bob = await someone("bob");
  const { link, ...made } = await code(laptop, "card");
  expect(common(await shows(phone, made.tokenId, () => true, "the code"))).toEqual(common(made));
  expect((await invite(phone, made.tokenId))?.ownedHere).toBe(false);
  await phone.core.ok("invites.withdraw", { tokenId: made.tokenId });
  await shows(laptop, made.tokenId, (one) => one.state === "withdrawn", "the withdrawal");
  await laptop.core.ok("invites.revive", { tokenId: made.tokenId });
  await shows(phone, made.tokenId, (one) => one.state === "active", "the revival");
  expect((await join(bob, link)).result).toBe("mutual");
  await expectContacts(laptop, bob);
  const used = await shows(phone, made.tokenId, (one) => one.state === "used", "the use");
  expect(used.uses).toEqual([bob.userId]);
  // what the server carried of it: nothing in clear, and neither the secret nor the link anywhere
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("no code");
  const secret = Buffer.from(parsed.code.secret);
  const forms = [noteType, secret.toString("base64").replace(/=+$/, ""), secret.toString("hex")];
  for (const { proxy } of [laptop, phone, bob])
    for (const exchange of proxy.exchanges) {
      const bytes = Buffer.concat([exchange.requestBody, exchange.responseBody ?? Buffer.alloc(0)]).toString("latin1");
      for (const form of forms) expect(bytes.includes(form)).toBe(false);
    }
  expect(laptop.proxy.seen(isNote).length).toBeGreaterThan(0);
});

test("scenario 7: answers that are lost and notes that come again leave one row, the same on both", async () => {
  const { laptop, phone } = await shared();
  // the server gives what it holds for the phone again, as its answers do not arrive
  const lost = phone.proxy.on(isSync, { kind: "drop-response" }, { times: 3 });
  const again = laptop.proxy.on(isNote, { kind: "drop-response" }, { times: 2 });
  const made = await code(laptop);
  await shows(phone, made.tokenId, () => true, "the code");
  await eventually(
    () => [lost.used, again.used],
    ([syncs = 0, puts = 0]) => syncs === 3 && puts === 2,
  );
  await phone.core.ok("invites.withdraw", { tokenId: made.tokenId });
  await shows(laptop, made.tokenId, (one) => one.state === "withdrawn", "the withdrawal");
  await phone.core.sync();
  expect((await phone.core.ok("invites.list", {})).filter((one) => one.tokenId === made.tokenId)).toHaveLength(1);
  expect(common((await invite(phone, made.tokenId)) ?? raise())).toEqual(
    common((await invite(laptop, made.tokenId)) ?? raise()),
  );
  expect((await invite(phone, made.tokenId))?.verifyUntilMs).toBe(made.verifyUntilMs);
});

test("scenario 11: withdrawn on the phone, the laptop is silent too; revived it lets in, and other codes never noticed", async () => {
  const { laptop, phone } = await shared();
  const [bob, cleo, dora] = await Promise.all([someone("bob"), someone("cleo"), someone("dora")]);
  const [one, other] = [await code(laptop), await code(laptop)];
  await shows(phone, one.tokenId, () => true, "the code");
  await shows(phone, other.tokenId, () => true, "the other code");
  await phone.core.ok("invites.withdraw", { tokenId: one.tokenId });
  await shows(laptop, one.tokenId, (now) => now.state === "withdrawn", "the withdrawal");
  const before = [laptop, phone].map(({ proxy }) => proxy.exchanges.length);
  const joinId = await accept(bob, one.link);
  await bob.proxy.waitFor({ ...isToDevice, path: /\/sendToDevice\/chat\.tessera\.securejoin\// });
  expect((await join(dora, other.link)).result).toBe("mutual");
  // an answer is held back for a moment at most, and this state comes much later
  expect(await joined(bob.core, joinId, "waiting")).toEqual({ at: "waiting" });
  await Promise.all([laptop.core.sync(), phone.core.sync()]);
  const answers = [laptop, phone].map(({ proxy }, index) =>
    proxy.exchanges
      .slice(before[index])
      .filter((exchange) => isToDevice.path.test(exchange.path) && exchange.requestBody.includes(bob.userId)),
  );
  expect(answers).toEqual([[], []]);

  const revived = await laptop.core.ok("invites.revive", { tokenId: one.tokenId });
  expect(revived).toMatchObject({ state: "active", verifyUntilMs: one.verifyUntilMs });
  await shows(phone, one.tokenId, (now) => now.state === "active", "the revival");
  expect((await join(cleo, one.link)).result).toBe("mutual");
  expect((await invite(laptop, one.tokenId))?.uses).toContain(cleo.userId);
});

test("scenario 27: a withdrawal in clear, from Bob, or by Olm from an unsigned device of her own is ignored", async () => {
  const { laptop, phone } = await shared();
  const bob = await someone("bob");
  const { link, tokenId } = await code(laptop);
  await shows(phone, tokenId, () => true, "the code");
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("no code");
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");
  const now = Date.now();
  const note = {
    v: 1,
    sent: now,
    tokens: [
      {
        h: text(parsed.code.header),
        s: text(parsed.code.secret),
        made: now,
        verify: now,
        state: { at: "withdrawn", rev: 99, by: laptop.account.deviceId, ms: now },
        owner: { dev: laptop.account.deviceId, rev: 1, by: laptop.account.deviceId },
        uses: [
          {
            user: bob.userId,
            msk: text(Buffer.alloc(32, 1)),
            at: now,
            dev: laptop.account.deviceId,
            ver: true,
            ok: true,
          },
        ],
      },
    ],
  };
  const put = (token: string, userId: string, deviceId: string) =>
    people.server().api("PUT", `v3/sendToDevice/${noteType}/t${Math.random()}`, {
      token,
      body: { messages: { [userId]: { [deviceId]: note } } },
    });
  const target = [phone.userId, phone.account.deviceId] as const;
  const thief = await otherClient(people.server(), await people.server().login(laptop.account));
  const from = phone.core.logs.length;
  const stranger = await otherClient(people.server(), await people.account("stranger"));
  await put(laptop.account.accessToken, ...target);
  await put(bob.account.accessToken, ...target);
  await thief.sendToDevice(...target, noteType, note);
  await stranger.sendToDevice(...target, noteType, note);
  await phone.core.sync();
  await phone.core.until(
    () =>
      Promise.resolve(
        phone.core.logs.slice(from).filter((line) => line.text.includes("a note about invitations")).length >= 4,
      ),
    "four refusals",
  );
  expect(await invite(phone, tokenId)).toMatchObject({ state: "active", uses: [] });
  expect(await phone.core.ok("invites.alarms", {})).toEqual([]);
  // and the unsigned one is told nothing
  expect(await thief.received(noteType)).toEqual([]);

  // the same from the laptop itself counts
  await laptop.core.ok("invites.withdraw", { tokenId });
  await shows(phone, tokenId, (one) => one.state === "withdrawn", "the withdrawal");
});

test("scenario 32: the withdrawal is kept from the phone, which lets Bob in: an alarm with both times, on each as soon as it knows", async () => {
  const { laptop, phone } = await shared();
  const bob = await someone("bob");
  const { link, tokenId } = await code(laptop, "public");
  await shows(phone, tokenId, () => true, "the code");
  const kept = laptop.proxy.on(isNote, { kind: "hold" });
  const withdrawnFromMs = Date.now();
  await laptop.core.ok("invites.withdraw", { tokenId });
  const withdrawnToMs = Date.now();
  await eventually(
    () => kept.used,
    (used) => used > 0,
  );
  const usedFromMs = Date.now();
  await join(bob, link);
  const alarmOf = ({ core }: { core: Core }) =>
    core.until(
      async () =>
        (await core.ok("invites.alarms", {})).find(
          (one) => one.kind === "withdrawn-but-used" && one.tokenId === tokenId,
        ),
      "the alarm",
    );
  const alarm = await alarmOf(laptop);
  expect(alarm).toMatchObject({ tokenId, userIds: [bob.userId] });
  expect(alarm.withdrawnAtMs).toBeGreaterThanOrEqual(withdrawnFromMs);
  expect(alarm.withdrawnAtMs).toBeLessThanOrEqual(withdrawnToMs);
  expect(alarm.atMs).toBeGreaterThanOrEqual(usedFromMs);
  expect(await phone.core.ok("invites.alarms", {})).toEqual([]);
  kept.release();
  expect(await alarmOf(phone)).toEqual(alarm);
  expect((await invite(phone, tokenId))?.state).toBe("withdrawn");
  const told = laptop.core.events.filter((one) => one.event === "invites.changed" && one.payload.alarms !== undefined);
  expect(told).toHaveLength(1);
});

test("scenario 19: a link for one: the other device holds Eve off while its maker is away, and Bob, who comes later, learns that it is used", async () => {
  const { laptop, phone } = await shared();
  const [eve, bob] = await Promise.all([someone("eve"), someone("bob")]);
  const { link, tokenId } = await code(laptop, "personal-link");
  await shows(phone, tokenId, () => true, "the code");
  laptop.proxy.setOnline(false);
  const after = phone.proxy.exchanges.at(-1)?.n ?? 0;
  const first = await accept(eve, link);
  // the phone's answer came, and lets nobody in
  await phone.proxy.waitFor({ ...isToDevice, path: /\/sendToDevice\/chat\.tessera\.securejoin\// }, { after });
  expect(await joined(eve.core, first, "waiting")).toEqual({ at: "waiting" });
  expect((await invite(phone, tokenId))?.uses).toEqual([]);
  laptop.proxy.setOnline(true);
  expect((await joined(eve.core, first, "done")).result).toBe("mutual");
  expect(await joined(bob.core, await accept(bob, link), "failed")).toEqual({ at: "failed", code: "used" });
  const alarm = await laptop.core.until(
    async () => (await laptop.core.ok("invites.alarms", {})).find((one) => one.tokenId === tokenId),
    "the alarm",
  );
  expect(alarm).toMatchObject({ kind: "two-users", userIds: [bob.userId, eve.userId].sort() });
  await shows(phone, tokenId, (one) => one.state === "used", "the use");
  for (const device of [laptop, phone]) expect((await invite(device, tokenId))?.uses).toEqual([eve.userId]);
});

test("scenario 38: after a new identity the codes are gone on all of her devices, over a restart too", async () => {
  const { laptop, phone } = await alices();
  const { tokenId } = await code(laptop, "card");
  await shows(phone, tokenId, () => true, "the code");
  await laptop.core.ok("trust.reset", { password: laptop.account.password, keepHistory: true });
  const gone = ({ core }: { core: Core }) =>
    core.until(async () => (await core.ok("invites.list", {})).length === 0, "codes that are gone");
  await gone(laptop);
  await phone.core.sync();
  await gone(phone);
  const again = await restarted(phone.core);
  expect(await again.ok("invites.list", {})).toEqual([]);
  // the next code is of the new identity
  const next = await code(laptop);
  expect((await laptop.core.ok("invites.list", {})).map((one) => one.tokenId)).toEqual([next.tokenId]);
});

test("a device that is verified later learns all codes, the withdrawn and the used ones too, and not before", async () => {
  const { laptop, phone, recoveryKey } = await alices();
  const bob = await someone("bob");
  const [withdrawn, used, open] = [
    await code(laptop),
    await code(laptop, "personal-link"),
    await code(phone, "public"),
  ];
  await laptop.core.ok("invites.withdraw", { tokenId: withdrawn.tokenId });
  await join(bob, used.link);
  await Promise.all([
    shows(phone, used.tokenId, (one) => one.state === "used", "the use"),
    shows(laptop, open.tokenId, () => true, "the phone's code"),
  ]);
  const tablet = await people.person("tablet", await people.server().login(laptop.account));
  await tablet.core.sync();
  expect(await tablet.core.ok("invites.list", {})).toEqual([]);
  await tablet.core.ok("trust.recover", { recoveryKey });
  for (const { tokenId } of [withdrawn, used, open]) await shows(tablet, tokenId, () => true, "the code");
  // what to offer for withdrawal should it be lost: what may still let somebody in
  const known = await laptop.core.until(async () => {
    const ids = (await laptop.core.ok("invites.knownBy", { deviceIds: [tablet.account.deviceId] })).map(
      (one) => one.tokenId,
    );
    return ids.includes(open.tokenId) && ids;
  }, "the tablet among those who know the code");
  expect(known).not.toContain(withdrawn.tokenId);
  const all = async ({ core }: { core: Core }) => (await core.ok("invites.list", {})).map(common);
  expect(await all(tablet)).toEqual(await all(laptop));
});

test("a kill right after a code was made, withdrawn or received costs nothing of it", async () => {
  const { laptop, phone } = await alices();
  const made = await code(laptop, "public");
  await laptop.core.kill();
  let core = await startCore({ ...sameAs(laptop.core), lastStopOrderly: false });
  await shows(phone, made.tokenId, () => true, "the code");
  await core.ok("invites.withdraw", { tokenId: made.tokenId });
  await core.kill();
  core = await startCore({ ...sameAs(laptop.core), lastStopOrderly: false });
  await shows(phone, made.tokenId, (one) => one.state === "withdrawn", "the withdrawal");

  // the phone has taken the note from the server, and ends wherever it is with it
  const after = laptop.proxy.exchanges.at(-1)?.n ?? 0;
  await core.ok("invites.revive", { tokenId: made.tokenId });
  const note = await laptop.proxy.waitFor(isNote, { after });
  const ciphertext = /"body":"([^"]+)"/.exec(note.requestBody.toString())?.[1] ?? raise();
  // also by a poll that was under way
  await phone.proxy.waitFor({ ...isSync, when: (one) => String(one.responseBody).includes(ciphertext) });
  await phone.core.kill();
  const again = await startCore({ ...sameAs(phone.core), lastStopOrderly: false });
  await shows({ core: again }, made.tokenId, (one) => one.state === "active", "the revival");
});

function raise(): never {
  throw new Error("missing");
}
