import crypto, { randomBytes } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { performance } from "node:perf_hooks";
import { afterEach, describe, expect, test } from "vitest";
import { decodePayload, encodeHeader } from "../../../main/core/features/invites/codec.ts";
import { inspect } from "../../../main/core/features/invites/inspect.ts";
import { idKey, open, rootKey, stepKey, tokenTag } from "../../../main/core/features/invites/keys.ts";
import { parseText } from "../../../main/core/features/invites/link.ts";
import type { LiveToken } from "../../../main/core/features/invites/tokens.ts";
import { base64, me, ownDevicesOf, type Sibling } from "./siblings.ts";

const bob = "@bob:tessera.test";
const eve = "@eve:tessera.test";
const keyOf = (name: string) => base64(crypto.createHash("sha256").update(name).digest());
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

const worlds: ReturnType<typeof ownDevicesOf>[] = [];
const world = (options?: Parameters<typeof ownDevicesOf>[0]) => {
  const made = ownDevicesOf(options);
  worlds.push(made);
  return made;
};
afterEach(() => {
  for (const one of worlds.splice(0)) one.end();
});

/** What a joiner who scanned the link calls the code by. */
function tagIn(link: string, joiner: string): Buffer {
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("no code");
  return tokenTag(idKey(rootKey(me, parsed.code.header, parsed.code.secret)), joiner, me);
}
const found = (sibling: Sibling, link: string, joiner = bob): LiveToken | undefined =>
  sibling.tokens.find(tagIn(link, joiner), joiner);
const contact = (preset: "show" | "personal-link" | "card" | "public") => ({ kind: "contact" as const, preset });

describe("a code of one device", () => {
  test("scenario 5: a code holds one secret, and what is made is what is read", async () => {
    const laptop = await world().add("LAPTOP");
    const { link, ...made } = await laptop.tokens.create({ ...contact("show"), label: "Büro" });
    const parsed = parseText(link);
    expect(parsed).toMatchObject({
      kind: "invite",
      userId: me,
      code: { kind: "contact", preset: "show", label: "Büro" },
    });
    expect(new URL(link).searchParams.size).toBe(2);
    if (parsed.kind !== "invite") return;
    expect(parsed.code.secret).toHaveLength(16);
    expect(parsed.code.header).toHaveLength(39 + Buffer.byteLength("Büro"));
    expect(laptop.tokens.list()).toEqual([made]);
    expect(laptop.tokens.recognise(parsed.code.header, parsed.code.secret)).toEqual(made);
    expect(laptop.tokens.recognise(parsed.code.header, randomBytes(16))).toBeUndefined();
    // the id that the window sees leads back to nothing
    expect(JSON.stringify(made)).not.toContain(base64(parsed.code.secret));
    expect(decodePayload(me, new URL(link).searchParams.get("chat.tessera.sj") ?? "")).toMatchObject({
      kind: "contact",
    });
  });

  test("scenario 6: what is no code of this kind goes its own way", () => {
    const at = 1_800_000_000_000;
    const binary = (mode: number) => ({
      bytes: Buffer.concat([Buffer.from("MATRIX\u0002", "latin1"), Buffer.of(mode, 0, 1, 2)]),
    });
    expect(inspect({ text: "matrix:u/bob:tessera.test?action=chat" }, me, at)).toEqual({ kind: "user", userId: bob });
    expect(inspect({ text: "https://matrix.to/#/@bob:tessera.test" }, me, at)).toEqual({ kind: "user", userId: bob });
    for (const mode of [0, 1, 2]) expect(inspect(binary(mode), me, at)).toEqual({ kind: "verification" });
    for (const mode of [3, 4]) expect(inspect(binary(mode), me, at)).toEqual({ kind: "sign-in" });
    expect(inspect({ bytes: Buffer.from("IO_ELEMENT_MSC4388…") }, me, at)).toEqual({ kind: "sign-in" });
  });

  test("presets: uses, windows and expiry are those that were promised", async () => {
    const { add, now, pass } = world();
    const laptop = await add("LAPTOP");
    const { tokens } = laptop;
    const at = now();
    const show = await tokens.create(contact("show"));
    const personal = await tokens.create(contact("personal-link"));
    const card = await tokens.create(contact("card"));
    const open = await tokens.create(contact("public"));
    expect(show).toMatchObject({ expiresAtMs: at + dayMs, verifyUntilMs: at + 10 * minuteMs });
    expect(personal).toMatchObject({ expiresAtMs: at + 7 * dayMs, verifyUntilMs: at + 7 * dayMs });
    expect(card).toMatchObject({ expiresAtMs: at + 90 * dayMs, verifyUntilMs: at + 90 * dayMs });
    expect(open).not.toHaveProperty("expiresAtMs");
    expect(open).not.toHaveProperty("verifyUntilMs");

    // the first joiner of a shown code, and not the second
    expect(tokens.recordUse(show.tokenId, bob, keyOf("bob"))).toEqual({ at: "accepted", fresh: true, verify: true });
    expect(tokens.canVerify(show.tokenId, eve, now())).toBe(false);
    expect(tokens.recordUse(show.tokenId, eve, keyOf("eve"))).toEqual({ at: "accepted", fresh: true, verify: false });
    expect(tokens.recordUse(open.tokenId, bob, keyOf("bob"))).toEqual({ at: "accepted", fresh: true, verify: false });
    expect(tokens.recordUse(personal.tokenId, bob, keyOf("bob"))).toEqual({
      at: "accepted",
      fresh: true,
      verify: true,
    });
    expect(tokens.recordUse(personal.tokenId, eve, keyOf("eve"))).toEqual({ at: "refused", reason: "used" });
    expect(tokens.admits(personal.tokenId, eve)).toBe("used");
    expect(tokens.admits(personal.tokenId, bob)).toBe("known");

    const states = () => Object.fromEntries(tokens.list().map((one) => [one.preset, one.state]));
    expect(states()).toEqual({ show: "active", "personal-link": "used", card: "active", public: "active" });
    pass(dayMs);
    expect(states()).toEqual({ show: "expired", "personal-link": "used", card: "active", public: "active" });
    expect(found(laptop, show.link)).toBeUndefined();
    // somebody else is to be told that it is taken
    expect(found(laptop, personal.link, eve)?.tokenId).toBe(personal.tokenId);
    pass(90 * dayMs);
    expect(found(laptop, card.link)).toBeUndefined();
    expect(found(laptop, open.link)?.tokenId).toBe(open.tokenId);
    expect(() => tokens.revive(show.tokenId)).toThrow(expect.objectContaining({ code: "conflict" }) as Error);
  });

  test("an open dialog moves the window, to the expiry at most, and only that of a shown code", async () => {
    const { add, now, pass } = world();
    const { tokens } = await add("LAPTOP");
    const show = await tokens.create(contact("show"));
    const card = await tokens.create(contact("card"));
    pass(9 * minuteMs);
    expect(tokens.keepOpen(show.tokenId).verifyUntilMs).toBe(now() + 10 * minuteMs);
    expect(tokens.keepOpen(card.tokenId).verifyUntilMs).toBe(card.verifyUntilMs);
    expect(tokens.canVerify(show.tokenId, bob, now() + 10 * minuteMs - 1)).toBe(true);
    expect(tokens.canVerify(show.tokenId, bob, now() + 10 * minuteMs)).toBe(false);
    pass(dayMs - 12 * minuteMs);
    expect(tokens.keepOpen(show.tokenId).verifyUntilMs).toBe(show.expiresAtMs);
    tokens.withdraw(show.tokenId);
    expect(() => tokens.keepOpen(show.tokenId)).toThrow(expect.objectContaining({ code: "conflict" }) as Error);
    expect(() => tokens.keepOpen("none")).toThrow(expect.objectContaining({ code: "not-found" }) as Error);
  });

  test("scenario 11: withdrawing ends one code, reviving it restores joining and no window", async () => {
    const { add, pass } = world();
    const laptop = await add("LAPTOP");
    const one = await laptop.tokens.create(contact("show"));
    const other = await laptop.tokens.create(contact("show"));
    const until = laptop.tokens.get(one.tokenId)?.verifyUntilMs;
    expect(laptop.tokens.withdraw(one.tokenId).state).toBe("withdrawn");
    expect(found(laptop, one.link)).toBeUndefined();
    expect(laptop.tokens.live(one.tokenId)).toBeUndefined();
    expect(laptop.tokens.recordUse(one.tokenId, bob, keyOf("bob"))).toEqual({ at: "refused", reason: "not-live" });
    expect(found(laptop, other.link)?.tokenId).toBe(other.tokenId);
    pass(11 * minuteMs);
    expect(laptop.tokens.revive(one.tokenId)).toMatchObject({ state: "active", verifyUntilMs: until });
    expect(found(laptop, one.link)?.tokenId).toBe(one.tokenId);
    expect(laptop.tokens.recordUse(one.tokenId, bob, keyOf("bob"))).toEqual({
      at: "accepted",
      fresh: true,
      verify: false,
    });
  });

  test("a use is written once, and says ever after what was decided", async () => {
    const { add, pass } = world();
    const laptop = await add("LAPTOP");
    const { tokenId } = await laptop.tokens.create(contact("show"));
    expect(laptop.tokens.recordUse(tokenId, bob, keyOf("bob"))).toEqual({ at: "accepted", fresh: true, verify: true });
    pass(hourMs);
    await laptop.restart();
    for (let n = 0; n < 3; n++)
      expect(laptop.tokens.recordUse(tokenId, bob, keyOf("bob"))).toEqual({
        at: "accepted",
        fresh: false,
        verify: true,
      });
    expect(laptop.tokens.list()[0]?.uses).toEqual([bob]);
    expect(laptop.tokens.uses(tokenId)).toHaveLength(1);
  });

  test("scenario 20: the second identity of one joiner is refused, an alarm stands, and nothing more happens for them", async () => {
    const { add } = world();
    const laptop = await add("LAPTOP");
    const { tokenId } = await laptop.tokens.create(contact("show"));
    laptop.tokens.recordUse(tokenId, bob, keyOf("bob"));
    expect(laptop.tokens.recordUse(tokenId, bob, keyOf("another"))).toEqual({ at: "refused", reason: "second-key" });
    expect(laptop.tokens.recordUse(tokenId, bob, keyOf("bob"))).toEqual({ at: "refused", reason: "frozen" });
    expect(laptop.tokens.admits(tokenId, bob)).toBe("frozen");
    expect(laptop.tokens.admits(tokenId, eve)).toBe("open");
    expect(laptop.tokens.alarms()).toMatchObject([{ kind: "second-key", tokenId, userIds: [bob] }]);
  });

  test("scenario 19: who comes to a taken code is refused, and the alarm names both, once", async () => {
    const { add } = world();
    const laptop = await add("LAPTOP");
    const { tokenId } = await laptop.tokens.create(contact("personal-link"));
    laptop.tokens.recordUse(tokenId, eve, keyOf("eve"));
    laptop.tokens.refusedSecond(tokenId, bob);
    laptop.tokens.refusedSecond(tokenId, bob);
    laptop.tokens.refusedSecond(tokenId, eve);
    expect(laptop.tokens.recordUse(tokenId, bob, keyOf("bob"))).toEqual({ at: "refused", reason: "used" });
    expect(laptop.tokens.alarms()).toMatchObject([{ kind: "two-users", tokenId, userIds: [bob, eve] }]);
  });

  test("an alarm that was put away stays away over a restart, and comes back with a further identity of theirs", async () => {
    const laptop = await world().add("LAPTOP");
    const { tokenId } = await laptop.tokens.create(contact("show"));
    laptop.tokens.recordUse(tokenId, bob, keyOf("bob"));
    laptop.tokens.recordUse(tokenId, bob, keyOf("another"));
    const [alarm] = laptop.tokens.alarms();
    laptop.tokens.putAway(alarm?.alarmId ?? "");
    laptop.tokens.putAway(alarm?.alarmId ?? "");
    expect(laptop.tokens.alarms()).toEqual([]);
    await laptop.restart();
    expect(laptop.tokens.recordUse(tokenId, bob, keyOf("another"))).toEqual({ at: "refused", reason: "frozen" });
    expect(laptop.tokens.alarms()).toEqual([]);
    laptop.tokens.recordUse(tokenId, bob, keyOf("a third"));
    expect(laptop.tokens.alarms()).toEqual([alarm]);
    expect(() => {
      laptop.tokens.putAway("none");
    }).toThrow("no such alarm");
  });

  test("what goes on while an alarm is put away is the same event; an hour later, or with other people, it is another", async () => {
    const { add, pass } = world();
    const laptop = await add("LAPTOP");
    const { tokenId } = await laptop.tokens.create(contact("personal-link"));
    const kinds = () => laptop.tokens.alarms().map(({ kind, userIds }) => [kind, ...userIds]);
    const happen = () => {
      laptop.tokens.refusedSecond(tokenId, bob);
      laptop.tokens.raise("flood", tokenId, []);
    };
    laptop.tokens.recordUse(tokenId, eve, keyOf("eve"));
    happen();
    const all = [["flood"], ["two-users", bob, eve]];
    expect(kinds().sort()).toEqual(all);
    for (const { alarmId } of laptop.tokens.alarms()) laptop.tokens.putAway(alarmId);
    pass(hourMs - 1);
    happen();
    expect(kinds()).toEqual([]);
    laptop.tokens.refusedSecond(tokenId, "@cleo:tessera.test");
    expect(kinds()).toEqual([["two-users", "@cleo:tessera.test", eve]]);
    pass(1);
    happen();
    expect(kinds().sort()).toEqual([["flood"], ["two-users", bob, eve], ["two-users", "@cleo:tessera.test", eve]]);
  });

  test("a code's link is given once more while somebody can join by it; an expired one says so", async () => {
    const { add, pass } = world();
    const laptop = await add("LAPTOP");
    const { tokenId, link, verifyUntilMs } = await laptop.tokens.create({ ...contact("show"), label: "Büro" });
    await laptop.restart();
    pass(hourMs);
    expect(laptop.tokens.show(tokenId)).toBe(link);
    expect(laptop.tokens.get(tokenId)?.verifyUntilMs).toBe(verifyUntilMs);
    expect(laptop.tokens.canVerify(tokenId, bob, verifyUntilMs ?? 0)).toBe(false);
    pass(dayMs);
    expect(() => laptop.tokens.show(tokenId)).toThrow("Nobody can join");
  });

  test("what a transaction takes back has not happened", async () => {
    const { add } = world();
    const laptop = await add("LAPTOP");
    const { tokenId, link } = await laptop.tokens.create(contact("personal-link"));
    const failing = () =>
      laptop.db.transaction(() => {
        laptop.tokens.recordUse(tokenId, bob, keyOf("bob"));
        laptop.tokens.withdraw(tokenId);
        expect(found(laptop, link)).toBeUndefined();
        throw new Error("full");
      });
    expect(failing).toThrow("full");
    await laptop.settled();
    expect(laptop.tokens.list()).toMatchObject([{ state: "active", uses: [] }]);
    expect(found(laptop, link)?.tokenId).toBe(tokenId);
  });

  test("no more codes than a lookup may cost, and none without an identity or with a label that is no text", async () => {
    const { add, device } = world({ maxLive: 3 });
    const { tokens } = await add("LAPTOP");
    const conflict = (kind: string) => expect.objectContaining({ code: "conflict", details: { kind } }) as Error;
    const made: { tokenId: string }[] = [];
    for (let n = 0; n < 3; n++) made.push(await tokens.create(contact("public")));
    await expect(tokens.create(contact("public"))).rejects.toThrow(conflict("too-many-codes"));
    tokens.withdraw(made[0]?.tokenId ?? "");
    await tokens.create(contact("public"));
    expect(() => tokens.revive(made[0]?.tokenId ?? "")).toThrow(conflict("too-many-codes"));
    tokens.withdraw(made[1]?.tokenId ?? "");
    const wrong = expect.objectContaining({ code: "bad-request" }) as Error;
    await expect(tokens.create({ ...contact("show"), label: "a\u202Eb" })).rejects.toThrow(wrong);
    await expect(tokens.create({ ...contact("show"), label: "x".repeat(25) })).rejects.toThrow(wrong);
    await expect(tokens.create({ kind: "group", preset: "show" })).rejects.toThrow(wrong);
    await expect(tokens.create({ ...contact("show"), roomId: "!a:tessera.test" })).rejects.toThrow(wrong);
    device("LAPTOP").signed = false;
    await expect(tokens.create(contact("show"))).rejects.toThrow(conflict("setup-needed"));
  });

  test("scenario 38: a new identity takes every code with it", async () => {
    const { add, newIdentity } = world();
    const laptop = await add("LAPTOP");
    const { link } = await laptop.tokens.create(contact("card"));
    newIdentity();
    // at once, before anything else is known of it
    expect(found(laptop, link)).toBeUndefined();
    await laptop.settled();
    expect(laptop.tokens.list()).toEqual([]);
    expect(laptop.store.tokens()).toEqual([]);
  });
});

describe("scenario 10: five thousand codes", () => {
  test("an unknown and the last one cost a hash each and no decryption, a small part of what trying each would cost", async () => {
    const { add, world: account, now } = world({ maxLive: 5_000 });
    const laptop = await add("LAPTOP");
    const header = encodeHeader({
      kind: "contact",
      preset: "public",
      expiresAtMs: 0,
      masterKey: Buffer.from(account.masterKey, "base64"),
      label: "",
    });
    let last: Buffer | undefined;
    const secrets: Buffer[] = [];
    laptop.db.transaction(() => {
      for (let n = 0; n < 5_000; n++) {
        const secret = randomBytes(16);
        secrets.push(secret);
        const id = idKey(rootKey(me, header, secret));
        last ??= id;
        laptop.store.put({
          token_id: `row${n}`,
          id_key: id,
          header: Buffer.from(header),
          secret,
          room_id: null,
          // the one that was made first comes last in a lookup
          created_at_ms: now() - 5_000 + n,
          verify_until_ms: 0,
          state: "active",
          state_rev: 1,
          state_by: "LAPTOP",
          state_at_ms: now(),
          owner: "LAPTOP",
          owner_rev: 1,
          owner_by: "LAPTOP",
          told: 1,
        });
      }
    });
    await laptop.restart();
    const decipher = crypto.createDecipheriv;
    let opened = 0;
    const counting = ((...args: Parameters<typeof decipher>) => {
      opened++;
      return decipher(...args);
    }) as typeof decipher;
    crypto.createDecipheriv = counting;
    syncBuiltinESMExports();
    const fastest = (look: () => void): number => {
      const times: number[] = [];
      for (let n = 0; n < 5; n++) {
        const from = performance.now();
        look();
        times.push(performance.now() - from);
      }
      return Math.min(...times);
    };
    try {
      const tag = tokenTag(last ?? Buffer.alloc(0), bob, me);
      laptop.tokens.find(tag, bob);
      const missMs = fastest(() => {
        expect(laptop.tokens.find(randomBytes(16), bob)).toBeUndefined();
      });
      expect(opened).toBe(0);
      const hitMs = fastest(() => {
        expect(laptop.tokens.find(tag, bob)?.tokenId).toBe("row0");
      });
      expect(opened).toBe(0);
      // milliseconds are the bench's to judge; here the machine is measured against itself
      const x = randomBytes(16);
      const trialMs = fastest(() => {
        for (const secret of secrets)
          open(stepKey(rootKey(me, header, secret), "hello", bob, x), Buffer.alloc(12), x, Buffer.alloc(784));
      });
      expect(opened).toBeGreaterThanOrEqual(5_000);
      expect(Math.max(missMs, hitMs)).toBeLessThan(trialMs / 4);
    } finally {
      crypto.createDecipheriv = decipher;
      syncBuiltinESMExports();
    }
  });
});
