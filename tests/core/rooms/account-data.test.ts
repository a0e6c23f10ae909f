import { beforeAll, expect, test } from "vitest";
import { sameAs, startCore } from "../core.ts";
import { eventually, holdSync, isSync, useHomeserver } from "../people.ts";
import type { Person } from "../people.ts";

// What this device writes beside the sync, and what a sync under way says of the same.
const { person, room, server } = useHomeserver();
const ignoredType = "m.ignored_user_list";
const isAsked = { method: "GET", path: new RegExp(`/account_data/${ignoredType}$`) };
const [first, second, third] = ["@first:tessera.test", "@second:tessera.test", "@third:tessera.test"] as const;
let ana: Person;
let ben: Person;

beforeAll(async () => {
  [ana, ben] = await Promise.all([person("ana"), person("ben")]);
});

const ignored = (who: Person) => who.core.ok("people.ignored", {});
const ignore = (who: Person, userId: string, on = true) => who.core.ok("people.ignore", { userId, ignored: on });
const contentOf = (...users: string[]) => ({ ignored_users: Object.fromEntries(users.map((user) => [user, {}])) });
const path = (who: Person, type: string) => `v3/user/${encodeURIComponent(who.userId)}/account_data/${type}`;
/** As another client of the same person does it. */
const putElsewhere = (who: Person, content: unknown) =>
  server().api("PUT", path(who, ignoredType), { token: who.account.accessToken, body: content });
const onServer = (who: Person) =>
  server().api<{ ignored_users: object }>("GET", path(who, ignoredType), { token: who.account.accessToken });

test("an answer that was under way and holds an older value does not undo what was written since", async () => {
  await ignore(ana, first);
  const hold = await holdSync(ana);
  await ignore(ana, second);
  const stale = ana.proxy.on(
    isSync,
    {
      kind: "rewrite-response",
      json: (body) => ({
        ...(body as object),
        account_data: { events: [{ type: ignoredType, content: contentOf(first) }] },
      }),
    },
    { times: 1 },
  );
  hold.release();
  await ana.proxy.waitFor(isAsked);
  expect(stale.used).toBe(1);
  expect(await ignored(ana)).toEqual([first, second]);
  await ana.core.sync();
  expect(await ignored(ana)).toEqual([first, second]);
  expect(Object.keys((await onServer(ana)).ignored_users)).toEqual([first, second]);
});

test("an answer that was under way and holds another client's newer value is taken, after a kill too", async () => {
  for (const killed of [false, true]) {
    await putElsewhere(ana, contentOf());
    await eventually(
      () => ignored(ana),
      (users) => users.length === 0,
    );
    // the server may have been asked for that already
    ana.proxy.clear();
    const hold = await holdSync(ana);
    await ignore(ana, first);
    await putElsewhere(ana, contentOf(third));
    const unreachable = killed ? ana.proxy.on(isAsked, { kind: "drop" }) : undefined;
    hold.release();
    await ana.proxy.waitFor(isAsked);
    if (killed) {
      await ana.core.kill();
      unreachable?.remove();
      ana = { ...ana, core: await startCore({ ...sameAs(ana.core), lastStopOrderly: false }) };
    }
    await eventually(
      () => ignored(ana),
      (users) => users.length === 1 && users[0] === third,
    );
  }
});

test("another client's value that came while ours was being written is not lost where it is the newer one", async () => {
  await putElsewhere(ben, contentOf());
  const late = ben.proxy.on({ ...isAsked, method: "PUT" }, { kind: "hold" });
  const writing = ignore(ben, first);
  await eventually(
    () => late.used,
    (used) => used === 1,
  );
  await putElsewhere(ben, contentOf(second));
  await eventually(
    () => ignored(ben),
    (users) => users[0] === second,
  );
  late.release();
  await writing;
  const users = Object.keys((await onServer(ben)).ignored_users);
  expect(
    await eventually(
      () => ignored(ben),
      (here) => here.join() === users.join(),
    ),
  ).toEqual([first]);
});

test("changes made at once are all made, and what else the content holds is kept", async () => {
  await putElsewhere(ben, { ...contentOf(), "org.example.other": 5 });
  await ben.core.sync();
  const people = Array.from({ length: 8 }, (_, n) => `@person-${n}:tessera.test`);
  await Promise.all(people.map((userId) => ignore(ben, userId)));
  expect((await ignored(ben)).toSorted()).toEqual(people);
  expect(await onServer(ben)).toEqual({ ...contentOf(...people), "org.example.other": 5 });
});

test("a direct chat made while a sync is under way stays one", async () => {
  await room(ana, [ben]);
  const hold = await holdSync(ana);
  const { roomId } = await ana.core.ok("rooms.create", { kind: "dm", invite: [ben.userId] });
  ana.proxy.on(
    isSync,
    {
      kind: "rewrite-response",
      json: (body) => ({ ...(body as object), account_data: { events: [{ type: "m.direct", content: {} }] } }),
    },
    { times: 1 },
  );
  hold.release();
  await ana.proxy.waitFor({ method: "GET", path: /\/account_data\/m\.direct$/ });
  await ana.core.sync();
  expect(await ana.core.room(roomId)).toMatchObject({ kind: "dm", directUserId: ben.userId });
});
