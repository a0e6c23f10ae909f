import { expect, test, vi } from "vitest";
import { fromBase32, toBase32 } from "../../../main/core/features/invites/base32.ts";
import { decodePayload, encodeHeader, encodePayload } from "../../../main/core/features/invites/codec.ts";
import { inviteLink } from "../../../main/core/features/invites/link.ts";
import type { Scanned } from "../../../preload/contract/invites.ts";
import type { Exchange } from "../../homeserver/fault-proxy.ts";
import { isSync, type Person } from "../people.ts";
import { identityOf } from "../verification/verifying.ts";
import { accept, code, dropped, joined, joinOf, useInviting } from "./inviting.ts";

vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });
const { someone } = useInviting();

/** Setting up takes long: one who shows codes, one who scans them. */
let pair: Promise<[Person, Person]> | undefined;
const both = () => (pair ??= Promise.all([someone("alice"), someone("bob")]));
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
const inspect = ({ core }: Person, scanned: string | Uint8Array): Promise<Scanned> =>
  core.ok("invites.inspect", typeof scanned === "string" ? { text: scanned } : { bytes: base64(scanned) });
/** What the core asked of its server besides syncing, and besides what it looks after of its own account, whenever that comes. */
const asked = ({ proxy, userId }: Person) =>
  proxy.exchanges
    .filter((one) => !isSync.path.test(one.path) && !isOwnUpkeep(one, userId))
    .map(({ method, path }) => `${method} ${path}`);
const isOwnUpkeep = ({ path, requestBody }: Exchange, userId: string): boolean => {
  if (/\/room_keys\/version$|\/account_data\/chat\.tessera\.device_run\./.test(path)) return true;
  const named = [...requestBody.toString().matchAll(/"(@[^"]+)"/g)].map(([, name]) => name);
  return path.endsWith("/keys/query") && named.every((name) => name === userId);
};
const partsOf = (userId: string, link: string) => {
  const payload = /[?&]chat\.tessera\.sj=([A-Z2-7]+)$/.exec(link)?.[1] ?? "";
  const read = decodePayload(userId, payload);
  if (typeof read === "string") throw new Error(read);
  return { payload, ...read };
};

test("scenario 3: one link by camera, paste and deep link is read as one, nothing is sent before the tap, and all are one join", async () => {
  // whoever is done with Alice has nothing to send any more: somebody for this test alone
  const [[alice], bob] = await Promise.all([both(), someone("cleo")]);
  const { link, tokenId } = await code(alice, "personal-link");
  await bob.core.sync();
  const before = { asked: asked(bob), joins: await bob.core.ok("invites.joins", {}) };
  const forms = [link, `  ${link}\n`, link.replace(/^matrix:/, "tessera:"), link.replace(/^matrix:/, "MATRIX:")];
  const readings = await Promise.all([...forms, Buffer.from(link)].map((form) => inspect(bob, form)));
  for (const reading of readings) {
    expect(reading).toMatchObject({ kind: "invite", userId: alice.userId, inviteKind: "contact", own: false });
    expect(reading).toEqual(readings[0]);
  }
  expect(asked(bob)).toEqual(before.asked);
  expect(await bob.core.ok("invites.joins", {})).toEqual(before.joins);
  const joins = [];
  for (const form of forms) joins.push(await accept(bob, form));
  expect(new Set(joins).size).toBe(1);
  expect((await joined(bob.core, joins[0] ?? "", "done")).result).toBe("mutual");
  expect((await alice.core.ok("invites.list", {})).find((one) => one.tokenId === tokenId)?.uses).toEqual([bob.userId]);
});

test("scenario 5: a code that the core makes holds one secret and no second, and is what its parts give again", async () => {
  const [alice] = await both();
  const made = await Promise.all([code(alice, "show"), code(alice, "card")]);
  const secrets = made.map(({ link }) => {
    const { payload, header, secret } = partsOf(alice.userId, link);
    expect([...new URL(link).searchParams.keys()]).toEqual(["action", "chat.tessera.sj"]);
    // header, secret and check are all there is
    expect(fromBase32(payload)).toHaveLength(header.length + 16 + 3);
    expect(secret).toHaveLength(16);
    expect(header[0]).toBe(1);
    expect(inviteLink(alice.userId, encodePayload(alice.userId, header, secret))).toBe(link);
    return base64(secret);
  });
  expect(new Set(secrets).size).toBe(2);
});

test("scenario 6: links of other kinds, verification's and sign-in's codes go their own way, and nothing is asked of anybody", async () => {
  const [alice, bob] = await both();
  await bob.core.sync();
  const before = asked(bob);
  const user = { kind: "user", userId: alice.userId };
  const id = alice.userId.slice(1);
  const binary = (mode: number) => Buffer.concat([Buffer.from("MATRIX\u0002", "latin1"), Buffer.of(mode, 0, 1, 2)]);
  const kinds: [string | Uint8Array, unknown][] = [
    [`matrix:u/${id}?action=chat`, user],
    [`https://matrix.to/#/${alice.userId}`, user],
    ["matrix:r/room:tessera.test", { kind: "room", room: "#room:tessera.test", via: [] }],
    ...[0, 1, 2].map((mode): [Uint8Array, unknown] => [binary(mode), { kind: "verification" }]),
    ...[3, 4].map((mode): [Uint8Array, unknown] => [binary(mode), { kind: "sign-in" }]),
    ["IO_ELEMENT_MSC4388…", { kind: "sign-in" }],
  ];
  for (const [scanned, found] of kinds) expect(await inspect(bob, scanned)).toEqual(found);
  expect(asked(bob)).toEqual(before);
});

test("scenario 29: a code with a bit flipped or of a later version is refused, without its payload a profile, altered under a new check no code of Alice's", async () => {
  const [alice, bob] = await both();
  const { link, tokenId } = await code(alice, "show");
  const { payload, header, secret, ...rest } = partsOf(alice.userId, link);
  const bytes = fromBase32(payload) ?? new Uint8Array();
  const before = asked(bob);
  const flips = Array.from({ length: bytes.length * 8 }, (_, bit) => {
    const copy = Uint8Array.from(bytes);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return inviteLink(alice.userId, toBase32(copy));
  });
  expect(flips.length).toBeGreaterThan(400);
  const read = await Promise.all(flips.map((flip) => inspect(bob, flip)));
  expect(new Set(read.map((one) => (one.kind === "unknown" ? one.reason : one.kind)))).toEqual(
    new Set(["corrupt", "newer-version"]),
  );
  // another's name over it
  expect(await inspect(bob, inviteLink(`@a${alice.userId.slice(1)}`, payload))).toMatchObject({ reason: "corrupt" });
  expect(await inspect(bob, link.replace(/&.*$/, ""))).toEqual({ kind: "user", userId: alice.userId });
  for (const refused of [flips[0], flips.at(-1), link.replace(/&.*$/, "")])
    expect(await bob.core.call("invites.accept", { text: refused ?? "" })).toMatchObject({
      ok: false,
      error: { code: "bad-request" },
    });
  expect(asked(bob)).toEqual(before);

  // whoever alters it knowingly makes the check fit; the keys are others then
  const from = alice.core.logs.length;
  const altered = encodeHeader({ ...rest, preset: "public", expiresAtMs: 0, label: "Somebody else" });
  const joinId = await accept(bob, inviteLink(alice.userId, encodePayload(alice.userId, altered, secret)));
  await dropped(alice, "hello: no such code", from);
  await alice.core.sync();
  expect((await joinOf(bob.core, joinId))?.state.at).not.toBe("done");
  expect((await alice.core.ok("invites.list", {})).find((one) => one.tokenId === tokenId)?.uses).toEqual([]);
  expect(await identityOf(alice.core, bob.userId)).not.toBe("verified");
  expect(header).not.toEqual(altered);
});
