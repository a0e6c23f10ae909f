import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { encodeHeader } from "../../../main/core/features/invites/codec.ts";
import { idKey, rootKey, tokenTag } from "../../../main/core/features/invites/keys.ts";
import { parseText } from "../../../main/core/features/invites/link.ts";
import { notesOf, readNote } from "../../../main/core/features/invites/token-note.ts";
import type { ToDevice } from "../../../main/core/matrix/crypto.ts";
import { base64, me, ownDevicesOf, type Letter, type Sibling } from "./siblings.ts";

const bob = "@bob:tessera.test";
const eve = "@eve:tessera.test";
const keyOf = (name: string) => base64(createHash("sha256").update(name).digest());
const minuteMs = 60_000;

const worlds: ReturnType<typeof ownDevicesOf>[] = [];
const world = () => {
  const made = ownDevicesOf();
  worlds.push(made);
  return made;
};
afterEach(() => {
  for (const one of worlds.splice(0)) one.end();
});
const finds = (sibling: Sibling, link: string, joiner = bob): boolean => {
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("no code");
  const id = idKey(rootKey(me, parsed.code.header, parsed.code.secret));
  return sibling.tokens.find(tokenTag(id, joiner, me), joiner) !== undefined;
};
const rows = (sibling: Sibling) => sibling.store.tokens().map(({ told: _, ...row }) => row);
const useRows = (sibling: Sibling) => sibling.store.allUses().map(({ told: _, ...row }) => row);

async function pair() {
  const account = world();
  const laptop = await account.add("LAPTOP");
  const phone = await account.add("PHONE");
  await account.exchange();
  return { account, laptop, phone };
}
const contact = (preset: "show" | "personal-link" | "public") => ({ kind: "contact" as const, preset });

describe("between own devices", () => {
  test("a code, its withdrawal, its revival and its uses are the same on all of them", async () => {
    const { account, laptop, phone } = await pair();
    const { link, tokenId, ...made } = await laptop.tokens.create({ ...contact("show"), label: "desk" });
    expect(finds(phone, link)).toBe(false);
    await account.exchange();
    expect(phone.tokens.list()).toEqual([{ tokenId, ...made }]);
    expect(finds(phone, link)).toBe(true);
    phone.tokens.withdraw(tokenId);
    await account.exchange();
    expect(finds(laptop, link)).toBe(false);
    laptop.tokens.revive(tokenId);
    await account.exchange();
    phone.tokens.recordUse(tokenId, bob, keyOf("bob"));
    await account.exchange();
    expect(laptop.tokens.list()).toMatchObject([{ state: "active", uses: [bob] }]);
    expect(rows(laptop)).toEqual(rows(phone));
    expect(useRows(laptop)).toEqual(useRows(phone));
    expect(laptop.tokens.recordUse(tokenId, bob, keyOf("bob"))).toEqual({ at: "accepted", fresh: false, verify: true });
    expect(laptop.tokens.knownBy(["PHONE"])).toHaveLength(1);
    expect(laptop.tokens.knownBy(["NEVER"])).toEqual([]);
  });

  test("scenario 7: a note that comes twice, late, or again for the same secret leaves one row and no younger clock", async () => {
    const { account, laptop, phone } = await pair();
    const { link, tokenId, verifyUntilMs = 0 } = await laptop.tokens.create(contact("show"));
    await laptop.settled();
    const letters = account.posted(laptop);
    await account.deliver([...letters, ...letters]);
    expect(phone.store.tokens()).toHaveLength(1);
    phone.tokens.withdraw(tokenId);
    await phone.settled();
    account.pass(30 * minuteMs);
    await account.deliver(letters);
    expect(phone.store.tokens()).toHaveLength(1);
    expect(phone.tokens.get(tokenId)).toMatchObject({ state: "withdrawn", verifyUntilMs });
    expect(finds(phone, link)).toBe(false);

    // the same secret once more, as if it were new and its window open
    const again = structuredClone(letters[0]);
    const part = (again?.event.content["tokens"] as Record<string, unknown>[])[0];
    if (again === undefined || part === undefined) throw new Error("no note");
    Object.assign(part, { made: account.now(), verify: account.now() + 10_000 * minuteMs });
    await account.deliver([again]);
    expect(phone.store.tokens()).toHaveLength(1);
    // the note says when it was sent, and nothing in it counts for more than was possible then
    expect(phone.tokens.get(tokenId)).toMatchObject({ state: "withdrawn", verifyUntilMs });
  });

  test("a clock that is ahead opens no window for longer than one that is right", async () => {
    const { account, laptop, phone } = await pair();
    const { tokenId } = await laptop.tokens.create(contact("show"));
    await laptop.settled();
    const [letter] = account.posted(laptop);
    const content = letter?.event.content;
    if (letter === undefined || content === undefined) throw new Error("no note");
    const yearMs = 365 * 24 * 60 * minuteMs;
    content["sent"] = account.now() + yearMs;
    Object.assign((content["tokens"] as Record<string, unknown>[])[0] ?? {}, { verify: account.now() + yearMs });
    await account.deliver([letter]);
    expect(phone.tokens.get(tokenId)?.verifyUntilMs).toBe(account.now() + 10 * minuteMs);
  });

  test("scenario 27: what comes in clear, from somebody else or from an unsigned device of one's own is dropped", async () => {
    const { account, laptop, phone } = await pair();
    const thief = await account.add("THIEF", { signed: false });
    await account.exchange();
    const { tokenId, link } = await laptop.tokens.create(contact("show"));
    await laptop.settled();
    const letters = account.posted(laptop);
    // nothing is sent to it
    expect(letters.map((one) => one.to)).toEqual(["PHONE"]);
    expect(thief.tokens.list()).toEqual([]);
    const genuine = letters[0]?.event;
    if (genuine?.olm === undefined) throw new Error("no note");
    const { olm, ...clear } = genuine;
    const unsigned = { ...olm, curve25519: account.device("THIEF").curve25519, device: "THIEF" };
    const forged: ToDevice[] = [
      clear,
      { ...genuine, sender: bob },
      { ...genuine, olm: { ...olm, sender: bob } },
      { ...genuine, olm: unsigned },
      { ...genuine, olm: { ...olm, curve25519: base64(randomBytes(32)) } },
      // a device's own messages come back to nobody
      { ...genuine, olm: { ...olm, curve25519: account.device("PHONE").curve25519 } },
    ];
    for (const event of forged) {
      expect(phone.tokens.received(event)).toBe(true);
      await phone.settled();
      expect(phone.tokens.list()).toEqual([]);
      expect(phone.store.notes()).toEqual([]);
    }
    await account.deliver(letters);
    expect(finds(phone, link)).toBe(true);

    // and so are withdrawals and uses
    const content = notesOf(
      [
        {
          ...laptopState(laptop, tokenId),
          state: { at: "withdrawn", rev: 9, by: "LAPTOP", atMs: account.now() },
          uses: [
            {
              userId: eve,
              masterKey: keyOf("eve"),
              atMs: account.now(),
              deviceId: "LAPTOP",
              verify: true,
              accepted: true,
            },
          ],
        },
      ],
      account.now(),
    )[0];
    for (const event of forged) {
      phone.tokens.received({ ...event, content: content ?? {} });
      await phone.settled();
    }
    expect(phone.tokens.get(tokenId)).toMatchObject({ state: "active", uses: [] });
    expect(phone.tokens.received({ type: "m.dummy", sender: me, content: {} })).toBe(false);
  });

  test("a device that is unsigned itself believes nobody yet, and takes what came as soon as it is", async () => {
    const { account, laptop, phone } = await pair();
    await laptop.tokens.create(contact("show"));
    await laptop.settled();
    account.device("PHONE").signed = false;
    await account.deliver(account.posted(laptop));
    expect(phone.tokens.list()).toEqual([]);
    account.device("PHONE").signed = true;
    account.devicesChanged();
    await phone.settled();
    expect(phone.tokens.list()).toHaveLength(1);
  });

  test("a device that is verified later asks for what the others know, and asks once", async () => {
    const account = world();
    const laptop = await account.add("LAPTOP");
    const used = await laptop.tokens.create(contact("public"));
    const withdrawn = await laptop.tokens.create(contact("show"));
    for (let n = 0; n < 120; n++) laptop.tokens.recordUse(used.tokenId, `@u${n}:tessera.test`, keyOf(`u${n}`));
    laptop.tokens.withdraw(withdrawn.tokenId);
    await account.exchange();
    const tablet = await account.add("TABLET", { signed: false });
    await account.exchange();
    expect(tablet.tokens.list()).toEqual([]);
    account.device("TABLET").signed = true;
    account.devicesChanged();
    await account.exchange();
    expect(rows(tablet)).toEqual(rows(laptop));
    expect(useRows(tablet)).toEqual(useRows(laptop));
    expect(tablet.tokens.get(used.tokenId)?.uses).toHaveLength(120);
    account.devicesChanged();
    await tablet.settled();
    expect(account.posted(tablet)).toEqual([]);
  });

  test("what was lost on the way is made good by the next day", async () => {
    const { account, laptop, phone } = await pair();
    const { tokenId, link } = await laptop.tokens.create(contact("public"));
    await account.exchange();
    laptop.tokens.withdraw(tokenId);
    await laptop.settled();
    expect(account.posted(laptop)).toHaveLength(1);
    expect(finds(phone, link)).toBe(true);
    account.pass(25 * 60 * minuteMs);
    account.devicesChanged();
    await account.exchange();
    expect(finds(phone, link)).toBe(false);
  });

  test("scenario 32: the withdrawal is lost and the other device lets somebody in: an alarm with both times", async () => {
    const { account, laptop, phone } = await pair();
    const { tokenId } = await laptop.tokens.create(contact("public"));
    await account.exchange();
    laptop.tokens.withdraw(tokenId);
    const withdrawnAtMs = account.now();
    await laptop.settled();
    const lost = account.posted(laptop);
    account.pass(5 * minuteMs);
    expect(phone.tokens.recordUse(tokenId, eve, keyOf("eve")).at).toBe("accepted");
    const alarm = { kind: "withdrawn-but-used", tokenId, userIds: [eve], atMs: account.now(), withdrawnAtMs };
    account.pass(minuteMs);
    await account.exchange();
    expect(laptop.tokens.alarms()).toMatchObject([alarm]);
    // the other device learns late, and says the same
    expect(phone.tokens.alarms()).toEqual([]);
    await account.deliver(lost);
    expect(phone.tokens.alarms()).toMatchObject([alarm]);
    await account.deliver(lost);
    expect(phone.tokens.alarms()).toHaveLength(1);
  });

  test("scenario 19: a single-use code is answered by one device; taking it over moves that, and two accepted users are an alarm", async () => {
    const { account, laptop, phone } = await pair();
    const { tokenId } = await laptop.tokens.create(contact("personal-link"));
    await account.exchange();
    expect([laptop.tokens.admits(tokenId, bob), phone.tokens.admits(tokenId, bob)]).toEqual(["open", "hold"]);
    expect(phone.tokens.get(tokenId)?.ownedHere).toBe(false);
    expect(phone.tokens.recordUse(tokenId, bob, keyOf("bob"))).toEqual({ at: "refused", reason: "hold" });
    expect(phone.tokens.ownership.takeOver(tokenId).ownedHere).toBe(true);
    // the laptop has not heard of it and lets another one in
    expect(phone.tokens.recordUse(tokenId, bob, keyOf("bob")).at).toBe("accepted");
    expect(laptop.tokens.recordUse(tokenId, eve, keyOf("eve")).at).toBe("accepted");
    await account.exchange();
    for (const device of [laptop, phone])
      expect(device.tokens.alarms()).toMatchObject([{ kind: "two-users", tokenId, userIds: [bob, eve] }]);
    expect([laptop, phone].map((one) => one.tokens.ownership.ownerOf(tokenId))).toEqual(["PHONE", "PHONE"]);
    expect([laptop, phone].map((one) => one.tokens.admits(tokenId, "@carol:tessera.test"))).toEqual(["used", "used"]);
  });

  test("scenario 20 across devices: two identities of one joiner, one at each, are found when the notes meet", async () => {
    const { account, laptop, phone } = await pair();
    const { tokenId } = await laptop.tokens.create(contact("public"));
    await account.exchange();
    laptop.tokens.recordUse(tokenId, bob, keyOf("bob"));
    phone.tokens.recordUse(tokenId, bob, keyOf("other"));
    await account.exchange();
    for (const device of [laptop, phone]) {
      expect(device.tokens.alarms()).toMatchObject([{ kind: "second-key", userIds: [bob] }]);
      expect(device.tokens.admits(tokenId, bob)).toBe("frozen");
    }
  });

  test("scenario 38: after a new identity no device has a code, and none of the old comes back", async () => {
    const { account, laptop, phone } = await pair();
    const { link } = await laptop.tokens.create(contact("show"));
    await laptop.settled();
    const letters = account.posted(laptop);
    await account.deliver(letters);
    account.newIdentity();
    for (const device of [laptop, phone]) {
      await device.settled();
      expect(device.store.tokens()).toEqual([]);
      expect(finds(device, link)).toBe(false);
    }
    await account.deliver(letters);
    expect(phone.store.tokens()).toEqual([]);
  });
});

describe("a process that ends at any moment", () => {
  test("what was received is applied after the next start, and what changed is told", async () => {
    const { account, laptop, phone } = await pair();
    const { link } = await laptop.tokens.create(contact("show"));
    // the change is committed, and nobody has been told of it
    laptop.put.splice(0);
    laptop.store.put({ ...(laptop.store.tokens()[0] ?? raise()), told: 0 });
    await laptop.restart();
    const letter = account.posted(laptop).find((one) => "tokens" in one.event.content) ?? raise();
    // received, the sync's token saved, and not judged any more
    phone.tokens.received(letter.event);
    expect(phone.store.notes()).toHaveLength(1);
    await phone.restart();
    expect(phone.store.notes()).toEqual([]);
    expect(finds(phone, link)).toBe(true);
  });

  test("a note that Olm had read and nobody had written down is asked for again at once", async () => {
    const { account, laptop, phone } = await pair();
    const { link } = await laptop.tokens.create(contact("show"));
    await laptop.settled();
    expect(account.posted(laptop)).toHaveLength(1);
    await phone.restart();
    await account.exchange();
    expect(finds(phone, link)).toBe(true);
    // an end in order loses nothing, and asks nothing
    await phone.tokens.stop();
    expect(phone.store.mark("running")).toBeUndefined();
    await phone.restart();
    expect(account.posted(phone)).toEqual([]);
  });

  test("a note whose sender cannot be looked up now waits for the network", async () => {
    const { account, laptop, phone } = await pair();
    await laptop.tokens.create(contact("show"));
    await laptop.settled();
    // signed a moment ago, which nobody but the server knows
    const letters = account.posted(laptop);
    account.device("LAPTOP").signed = false;
    account.world.online = false;
    await account.deliver(letters);
    expect(phone.store.notes()).toHaveLength(1);
    account.world.online = true;
    account.device("LAPTOP").signed = true;
    phone.tokens.synced();
    await phone.settled();
    expect(phone.tokens.list()).toHaveLength(1);
  });

  test("a flood of notes from an unsigned device costs bounded rows, and one question to the server", async () => {
    const { account, phone } = await pair();
    await account.add("THIEF", { signed: false });
    await account.exchange();
    const before = account.world.queries;
    const olm = { sender: me, device: "THIEF", curve25519: account.device("THIEF").curve25519, senderVerified: false };
    for (let n = 0; n < 1_000; n++)
      phone.tokens.received({
        type: "chat.tessera.securejoin.note",
        sender: me,
        content: { v: 1, sent: n, tokens: [] },
        olm,
      });
    expect(phone.store.countNotes()).toBeLessThanOrEqual(100);
    await phone.settled();
    expect(phone.store.notes()).toEqual([]);
    expect(account.world.queries - before).toBe(1);
  });
});

test("whatever stands in a note, reading it throws nothing and lets nothing in that is no code of ours", () => {
  const masterKey = randomBytes(32);
  const header = encodeHeader({ kind: "contact", preset: "show", expiresAtMs: 60_000, masterKey, label: "" });
  const state = {
    header,
    secret: randomBytes(16),
    roomId: undefined,
    createdAtMs: 1,
    verifyUntilMs: 2,
    state: { at: "active" as const, rev: 1, by: "A", atMs: 1 },
    owner: { owner: "A", rev: 1, by: "A" },
    uses: [{ userId: bob, masterKey: keyOf("bob"), atMs: 1, deviceId: "A", verify: true, accepted: true }],
  };
  const content = notesOf([state], 5)[0] ?? {};
  expect(readNote(content, me)).toEqual({ sentAtMs: 5, tokens: [{ ...state, header: Buffer.from(header) }] });
  // another's code is none of ours
  expect(readNote(content, bob)?.tokens).toHaveLength(1);
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom("v", "sent", "tokens", "ask"), (value, name) => {
      expect(() => readNote({ ...content, [name]: value }, me)).not.toThrow();
    }),
  );
  const part = (content["tokens"] as Record<string, unknown>[])[0] ?? {};
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(...Object.keys(part)), (value, name) => {
      const note = readNote({ ...content, tokens: [{ ...part, [name]: value }] }, me);
      for (const token of note?.tokens ?? []) {
        expect(token.secret).toHaveLength(16);
        expect(Number.isSafeInteger(token.state.rev + 1)).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});

/** Random people at random devices, letters lost, doubled and out of order: in the end everybody knows the same, and nothing was given away. */
test("whatever happens in whatever order, the devices agree, and no rule is broken", async () => {
  const names = ["A", "B", "C"] as const;
  type Step =
    | { do: "create"; at: number; preset: "show" | "personal-link" | "public" }
    | { do: "withdraw" | "revive" | "keepOpen" | "takeOver"; at: number; which: number }
    | { do: "use"; at: number; which: number; user: number; key: number }
    | { do: "post" | "restart"; at: number }
    | { do: "deliver"; letter: number; keep: boolean }
    | { do: "pass"; minutes: number };
  const at = fc.nat({ max: 2 });
  const which = fc.nat({ max: 4 });
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({
      do: fc.constant("create" as const),
      at,
      preset: fc.constantFrom("show" as const, "personal-link" as const, "public" as const),
    }),
    fc.record({
      do: fc.constantFrom("withdraw" as const, "revive" as const, "keepOpen" as const, "takeOver" as const),
      at,
      which,
    }),
    fc.record({ do: fc.constant("use" as const), at, which, user: fc.nat({ max: 2 }), key: fc.nat({ max: 1 }) }),
    { weight: 3, arbitrary: fc.record({ do: fc.constant("post" as const), at }) },
    fc.record({ do: fc.constant("restart" as const), at }),
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant("deliver" as const), letter: fc.nat({ max: 30 }), keep: fc.boolean() }),
    },
    fc.record({ do: fc.constant("pass" as const), minutes: fc.nat({ max: 600 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const account = ownDevicesOf();
      try {
        const devices: Sibling[] = [];
        for (const name of names) devices.push(await account.add(name));
        await account.exchange();
        const flying: Letter[] = [];
        const made: { tokenId: string; preset: string; limitMs: number }[] = [];
        const granted: { tokenId: string; user: string; key: string }[] = [];
        const quietly = (work: () => unknown) => {
          try {
            work();
          } catch (error) {
            if (!["not-found", "conflict"].includes((error as { code: string }).code)) throw error;
          }
        };
        const post = async (device: Sibling) => {
          await device.settled();
          flying.push(...account.posted(device));
        };
        for (const one of steps) {
          const device = devices["at" in one ? one.at : 0] ?? raise();
          const token = "which" in one ? made[one.which % Math.max(made.length, 1)] : undefined;
          if (one.do === "create") {
            const { tokenId, preset, expiresAtMs } = await device.tokens.create(contact(one.preset));
            made.push({ tokenId, preset, limitMs: expiresAtMs ?? 0 });
          } else if (one.do === "pass") account.pass(one.minutes * minuteMs);
          else if (one.do === "post") await post(device);
          else if (one.do === "restart") await device.restart();
          else if (one.do === "deliver") {
            const letter = flying[one.letter % Math.max(flying.length, 1)];
            if (letter === undefined) continue;
            if (!one.keep) flying.splice(flying.indexOf(letter), 1);
            await account.deliver([letter]);
          } else if (token !== undefined && one.do === "use") {
            const user = `@u${one.user}:tessera.test`;
            const key = keyOf(`${one.user} ${one.key}`);
            const verifiable = device.tokens.canVerify(token.tokenId, user, account.now());
            const result = device.tokens.recordUse(token.tokenId, user, key);
            if (result.at !== "accepted") continue;
            // nothing is verified unasked beyond its window
            if (result.fresh) expect(result.verify).toBe(verifiable);
            granted.push({ tokenId: token.tokenId, user, key });
          } else if (token !== undefined && one.do !== "use") {
            const { tokenId } = token;
            if (one.do === "takeOver") quietly(() => device.tokens.ownership.takeOver(tokenId));
            else if (one.do === "withdraw") quietly(() => device.tokens.withdraw(tokenId));
            else if (one.do === "revive") quietly(() => device.tokens.revive(tokenId));
            else quietly(() => device.tokens.keepOpen(tokenId));
          }
        }
        for (const device of devices) await post(device);
        await account.deliver(flying.splice(0).reverse());
        await account.exchange();
        // letters that were lost are made good by the daily question
        account.pass(25 * 60 * minuteMs);
        account.devicesChanged();
        await account.exchange();

        const [first = raise(), ...others] = devices;
        for (const other of others) {
          expect(rows(other)).toEqual(rows(first));
          expect(useRows(other)).toEqual(useRows(first));
        }
        for (const device of devices) {
          for (const { tokenId, user, key } of granted)
            expect(
              device.tokens.uses(tokenId).some((use) => use.userId === user && use.masterKey === key && use.accepted),
            ).toBe(true);
          for (const { tokenId, preset, limitMs } of made) {
            const invite = device.tokens.get(tokenId);
            if (preset !== "public") expect(invite?.verifyUntilMs).toBeLessThanOrEqual(limitMs);
            const kinds = new Set(
              device.tokens.alarms().flatMap((alarm) => (alarm.tokenId === tokenId ? [alarm.kind] : [])),
            );
            // a single-use code has at most one accepted user, unless an alarm stands
            if (preset === "personal-link" && (invite?.uses.length ?? 0) > 1) expect(kinds).toContain("two-users");
            const uses = device.tokens.uses(tokenId);
            if (new Set(uses.map((use) => use.userId)).size < uses.length) expect(kinds).toContain("second-key");
          }
        }
      } finally {
        account.end();
      }
    }),
    process.env["TESSERA_FULL"] === "1" ? { numRuns: 60 } : { numRuns: 20, seed: 20_260 },
  );
}, 240_000);

function laptopState(laptop: Sibling, tokenId: string) {
  const row = laptop.store.token(tokenId) ?? raise();
  return {
    header: row.header,
    secret: row.secret,
    roomId: undefined,
    createdAtMs: row.created_at_ms,
    verifyUntilMs: row.verify_until_ms,
    state: { at: row.state, rev: row.state_rev, by: row.state_by, atMs: row.state_at_ms },
    owner: { owner: row.owner, rev: row.owner_rev, by: row.owner_by },
    uses: [],
  };
}
function raise(): never {
  throw new Error("missing");
}
