import { expect, test, vi } from "vitest";
import { sameAs, startCore } from "../core.ts";
import { eventually, useHomeserver, type Person } from "../people.ts";
import { setUp } from "../verification/verifying.ts";
import { accept, code, expectContacts, joined } from "./inviting.ts";

vi.setConfig({ testTimeout: 600_000, hookTimeout: 300_000 });
const people = useHomeserver();

const put = (type: string) => ({ method: "PUT", path: new RegExp(`/sendToDevice/${type.replaceAll(".", "\\.")}/`) });
const isSignature = { method: "POST", path: /\/keys\/signatures\/upload$/ };
const isNewRoom = { method: "POST", path: /\/createRoom$/ };
const isDirect = { method: "PUT", path: /\/account_data\/m\.direct$/ };
const isJoin = { method: "POST", path: /\/v3\/join\// };

/** Where each side does something that a crash could lose or double, in the order in which a join comes by. */
const places = [
  ["bob", "the signature", isSignature],
  ["bob", "the chat", isNewRoom],
  ["bob", "the chat's mark", isDirect],
  ["bob", "HELLO", put("chat.tessera.securejoin")],
  ["alice", "REPLY", put("chat.tessera.securejoin")],
  ["bob", "PROOF", put("m.room.encrypted")],
  ["alice", "the signature", isSignature],
  ["alice", "joining the chat", isJoin],
  ["alice", "CONFIRM", put("m.room.encrypted")],
] as const;

for (const [when, fault] of [
  ["before the server hears of it", { kind: "hold" }],
  ["when the server has done it and the answer is lost", { kind: "drop-response" }],
] as const)
  test(`scenario 15: both killed at every step, ${when}: one chat, one use, both verified`, async () => {
    const [alice, bob] = await Promise.all([people.person("alice"), people.person("bob")]);
    await Promise.all([setUp(alice), setUp(bob)]);
    const who: Record<"alice" | "bob", Person> = { alice, bob };
    const { link } = await code(alice, "personal-link");
    // all of them from the beginning: none is passed by while another one is looked at
    const rules = places.map(([name, , match]) => ({ name, rule: who[name].proxy.on(match, fault) }));
    const joinId = await accept(bob, link);
    for (const { name, rule } of rules) {
      await eventually(
        () => rule.used,
        (used) => used > 0,
      );
      const { core } = who[name];
      await core.kill();
      rule.remove();
      who[name] = { ...who[name], core: await startCore({ ...sameAs(core), lastStopOrderly: false }) };
    }
    const done = await joined(who.bob.core, joinId, "done");
    expect(done.result).toBe("mutual");
    const roomId = await expectContacts(who.alice, who.bob);
    expect(done.roomId).toBe(roomId);
    const [invite] = await who.alice.core.ok("invites.list", {});
    expect(invite?.uses).toEqual([bob.userId]);
    expect(await who.alice.core.ok("invites.alarms", {})).toEqual([]);
    const rooms = await people.server().api<{ joined_rooms: string[] }>("GET", "v3/joined_rooms", {
      token: bob.account.accessToken,
    });
    expect(rooms.joined_rooms).toEqual([roomId]);
  });
