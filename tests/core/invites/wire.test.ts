import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test, vi } from "vitest";
import { toBase32 } from "../../../main/core/features/invites/base32.ts";
import { rootKey } from "../../../main/core/features/invites/keys.ts";
import { parseText } from "../../../main/core/features/invites/link.ts";
import { messageTypes, toBase64 } from "../../../main/core/features/invites/messages.ts";
import { list, object, text, type Json } from "../../../main/core/json.ts";
import { forgedHello, opened } from "../../unit/invites/wire.ts";
import type { Account } from "../../homeserver/homeserver.ts";
import { accept, code, dropped, expectContacts, join, joinOf, useInviting } from "./inviting.ts";

vi.setConfig({ testTimeout: 400_000, hookTimeout: 300_000 });
const { people, someone } = useInviting();

let sent = 0;
/** What anybody with an account may send to anybody's devices. */
const put = (from: Account, type: string, userId: string, deviceId: string, content: Json) =>
  people.server().api("PUT", `v3/sendToDevice/${type}/wire${++sent}`, {
    token: from.accessToken,
    body: { messages: { [userId]: { [deviceId]: content } } },
  });
/** Everything that waits on the server for this device. */
const received = async (account: Account): Promise<Json[]> => {
  const filter = JSON.stringify({ room: { rooms: [] }, presence: { types: [] } });
  const answer = await people.server().api<Json>("GET", "v3/sync", { token: account.accessToken, query: { filter } });
  return list(object(answer["to_device"])?.["events"]).flatMap((event): Json[] => {
    const content = object(event);
    return content === undefined ? [] : [content];
  });
};

test("scenarios 23 and 24: a HELLO sent twenty times gets few answers with one nonce; altered in any part it gets none", async () => {
  const alice = await someone("alice");
  const eve = await people.account("eve");
  const { link } = await code(alice, "public");
  const hello = forgedHello(link, eve.userId, "*").content;
  const flip = (name: string): Json => {
    const bytes = Buffer.from(String(hello[name]), "base64");
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    return { ...hello, [name]: toBase64(bytes) };
  };
  const other = await people.account("mallory");
  for (const name of ["t", "n", "c"]) await put(other, messageTypes.open, alice.userId, "*", flip(name));
  await dropped(alice, "hello: no such code");
  const at = alice.core.logs.length;
  // under her own name the tag fits, and the seal does not
  await put(eve, messageTypes.open, alice.userId, "*", flip("n"));
  await dropped(alice, "hello: sealed otherwise", at);
  await put(eve, messageTypes.open, alice.userId, "*", { ...hello, c: "A".repeat(5_000) });
  await dropped(alice, "message: size");
  await put(eve, messageTypes.open, alice.userId, "*", { ...hello, x: 5 });
  await dropped(alice, "message: shape");
  expect(alice.proxy.seen({ method: "PUT", path: /\/sendToDevice\/chat/ })).toEqual([]);

  const own = { ...forgedHello(link, eve.userId, "*", { dev: deviceOf(eve) }).content };
  const answers = () => alice.proxy.seen({ method: "PUT", path: /\/sendToDevice\/chat/ }).length;
  // those that come together are one
  for (let times = 1; times <= 2; times++) {
    await put(eve, messageTypes.open, alice.userId, "*", own);
    await alice.core.until(() => Promise.resolve(answers() === times), "an answer");
  }
  for (let times = 0; times < 18; times++) await put(eve, messageTypes.open, alice.userId, "*", own);
  await dropped(alice, "message: too many");
  await alice.core.sync();
  const replies = (await received(eve)).flatMap((event) => {
    const letter = { sender: alice.userId, userId: eve.userId, deviceId: eve.deviceId, type: "", content: {} };
    const content = object(event["content"]);
    return content === undefined ? [] : [opened({ ...letter, content }, link)];
  });
  expect(replies.length).toBeGreaterThanOrEqual(2);
  expect(replies.length).toBeLessThanOrEqual(4);
  expect(new Set(replies.map((reply) => text(reply?.["na"]))).size).toBe(1);
  expect(new Set(replies.map((reply) => text(reply?.["res"])))).toEqual(new Set(["ok"]));
  expect((await alice.core.ok("invites.list", {}))[0]?.uses).toEqual([]);
});

test("scenario 28: proof and confirmation in clear are dropped, on both sides", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link } = await code(alice, "public");
  const b64 = (bytes: number) => toBase64(randomBytes(bytes));
  const proof = { v: 1, t: b64(16), x: b64(16), na: b64(16), nb: b64(16), knd: "dm", msk: b64(32), mac: b64(32) };
  await put(bob.account, messageTypes.proof, alice.userId, "*", { ...proof, dev: deviceOf(bob.account) });
  await dropped(alice, "message: in clear");
  alice.proxy.setOnline(false);
  const joinId = await accept(bob, link);
  await bob.proxy.waitFor({ method: "PUT", path: /\/sendToDevice\/chat/ });
  const confirm = { v: 1, t: b64(16), x: b64(16), res: "ok", ver: true, knd: "dm", room: "", via: [], mac: b64(32) };
  await put(alice.account, messageTypes.confirm, bob.userId, "*", confirm);
  await dropped(bob, "message: in clear");
  expect((await joinOf(bob.core, joinId))?.state.at).not.toBe("done");
});

test("scenario 35: after a whole run neither the code nor its secrets are in a log, an event or a file", async () => {
  const [alice, bob] = await Promise.all([someone("alice"), someone("bob")]);
  const { link, ...invite } = await code(alice, "show");
  const parsed = parseText(link);
  if (parsed.kind !== "invite") throw new Error("no code");
  const { header, secret } = parsed.code;
  await alice.core.call("invites.accept", { text: link });
  await bob.core.call("invites.accept", { text: `${link}A` });
  await join(bob, link);
  await expectContacts(alice, bob);
  const payload = /sj=([A-Z2-7]+)/.exec(link)?.[1] ?? "";
  const root = rootKey(alice.userId, header, secret);
  const raw = [Buffer.from(secret), root];
  const needles = [
    payload,
    ...raw.flatMap((bytes) => [
      bytes.toString("hex"),
      toBase64(bytes),
      bytes.toString("base64url"),
      toBase32(bytes),
      JSON.stringify([...bytes]).slice(1, -1),
    ]),
  ];
  const spoken = JSON.stringify([
    invite,
    ...[alice, bob].flatMap(({ core }) => [core.logs, core.events]),
    await alice.core.ok("invites.list", {}),
    await bob.core.ok("invites.joins", {}),
  ]);
  for (const needle of needles) expect(spoken.includes(needle)).toBe(false);
  await Promise.all([alice.core.stop(), bob.core.stop()]);
  for (const { core } of [alice, bob])
    for (const name of readdirSync(core.folder, { recursive: true, encoding: "utf8" })) {
      const file = path.join(core.folder, name);
      let bytes: Buffer;
      try {
        bytes = readFileSync(file);
      } catch {
        continue; // a folder
      }
      for (const needle of [...needles, ...raw]) expect(bytes.includes(needle)).toBe(false);
    }
});

const deviceOf = ({ deviceId }: Account) => ({
  id: deviceId,
  ed: toBase64(randomBytes(32)),
  curve: toBase64(randomBytes(32)),
});
