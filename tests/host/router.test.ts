import fc from "fast-check";
import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { HostError } from "../../main/host/host-error.ts";
import { createGrants } from "../../main/host/grants.ts";
import type { Log } from "../../main/host/log.ts";
import { createRouter, type Call, type Caller } from "../../main/host/router.ts";
import { command, failureCodes, type Response, type Schema } from "../../preload/contract/define.ts";
import { filePath } from "../../preload/contract/file.ts";
import { coreCommands, hostCommands } from "../../preload/contract/index.ts";

const window: Caller = { door: "electron", isWindow: true };
const script: Caller = { door: "headless", isWindow: false };

type Seen = { target: "host" | "core"; name: string; input: unknown; account: string | undefined };

function setUp(more: { coreCommands?: Record<string, { input: Schema }>; userIds?: string[] } = {}) {
  const seen: Seen[] = [];
  const logged: string[] = [];
  const log: Log = {
    write: (_level, text) => logged.push(text),
    error: (what, error) => logged.push(`${what} ${String(error)}`),
    close: () => undefined,
  };
  const state: { vault: HostError | undefined; throws: Error | undefined } = { vault: undefined, throws: undefined };
  const grants = createGrants();
  const take = (target: "host" | "core", name: string, input: unknown, account: string | undefined) => {
    if (state.throws !== undefined) throw state.throws;
    seen.push({ target, name, input, account });
    return Promise.resolve({ done: name });
  };
  const router = createRouter({
    hostCommands,
    coreCommands: { ...coreCommands, ...more.coreCommands },
    host: (name, input, call: Call) => take("host", name, input, call.account),
    core: (name, input, userId) => take("core", name, input, userId),
    vaultOpen: () => (state.vault === undefined ? Promise.resolve() : Promise.reject(state.vault)),
    userIds: () => more.userIds ?? ["@alice:localhost"],
    grants,
    log,
    resolvePath: (file) => `/from/${file}`,
  });
  const ask = (name: unknown, input: unknown = {}, rest: object = {}, caller = script) =>
    router.handle({ id: 1, name, input, ...rest }, caller);
  return { router, ask, seen, logged, state, grants };
}

const codeOf = (response: Response) => (response.ok ? "ok" : response.error.code);
const detailsOf = (response: Response) => (response.ok ? undefined : response.error.details);

describe("the envelope", () => {
  test("a good request reaches its handler and is answered with its id", async () => {
    const { router, seen } = setUp();
    const input = { roomId: "!a:localhost", body: "hi" };
    expect(await router.handle({ id: "x", name: "timeline.send", input }, script)).toEqual({
      id: "x",
      ok: true,
      value: { done: "timeline.send" },
    });
    expect(seen).toEqual([{ target: "core", name: "timeline.send", input, account: "@alice:localhost" }]);
  });

  test.each([
    ["no object", 5, null],
    ["null", null, null],
    ["an array", [1], null],
    ["no id", { name: "rooms.list", input: {} }, null],
    ["an id that is an object", { id: {}, name: "rooms.list", input: {} }, null],
    ["an id that is not finite", { id: Number.NaN, name: "rooms.list", input: {} }, null],
    ["a name that is no text", { id: 1, name: 5, input: {} }, 1],
    ["no input", { id: 1, name: "rooms.list" }, 1],
    ["an array as input", { id: 1, name: "rooms.list", input: [] }, 1],
    ["a date as input", { id: 1, name: "rooms.list", input: new Date() }, 1],
    ["a map as input", { id: 1, name: "rooms.list", input: new Map() }, 1],
    ["an account that is no text", { id: 1, name: "rooms.list", input: {}, account: 1 }, 1],
    ["a field of its own", { id: 1, name: "rooms.list", input: {}, more: 1 }, 1],
  ])("%s is a bad request", async (_what, request, id) => {
    const { router, seen } = setUp();
    const response = await router.handle(request, script);
    expect([codeOf(response), response.id]).toEqual(["bad-request", id]);
    expect(seen).toEqual([]);
  });

  test("more than a mebibyte is refused: as text unread, as an object with its id", async () => {
    const { router, ask, seen } = setUp();
    const body = "x".repeat(1024 * 1024);
    const text = JSON.stringify({ id: 1, name: "timeline.send", input: { roomId: "!a:b", body } });
    expect(await router.handleText(text, script)).toMatchObject({
      id: null,
      ok: false,
      error: { code: "bad-request" },
    });
    expect(await ask("timeline.send", { roomId: "!a:b", body })).toMatchObject({
      id: 1,
      error: { code: "bad-request" },
    });
    expect(seen).toEqual([]);
  });

  test("a cycle and a depth without end are bad requests, not a hang", async () => {
    const { router, ask } = setUp();
    const cycle: Record<string, unknown> = {};
    cycle["self"] = cycle;
    expect(codeOf(await ask("rooms.list", cycle))).toBe("bad-request");
    expect(codeOf(await router.handleText(`{"id":1,"name":"rooms.list","input":${"[".repeat(100_000)}`, script))).toBe(
      "bad-request",
    );
    const deep = `{"id":1,"name":"rooms.list","input":{"a":${"[".repeat(5000)}${"]".repeat(5000)}}}`;
    expect(codeOf(await router.handleText(deep, script))).toBe("bad-request");
  });

  test("bytes that are no UTF-8 and text that is no JSON have no id", async () => {
    const { router } = setUp();
    for (const bytes of [Uint8Array.of(0x7b, 0xff, 0x7d), "{", "", "nonsense-word"]) {
      const response = await router.handleText(bytes, script);
      expect([response.id, codeOf(response)]).toEqual([null, "bad-request"]);
      expect(JSON.stringify(response)).not.toContain("nonsense");
    }
  });
});

describe("names", () => {
  test.each([
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "valueOf",
    "guest.login",
    "account.atRisk",
    "account.endSession",
    "",
    "nothing.here",
  ])("%s is unsupported", async (name) => {
    const { ask, seen } = setUp();
    expect(codeOf(await ask(name))).toBe("unsupported");
    expect(seen).toEqual([]);
  });

  test.each(["__proto__", "constructor", "toString"])("a field called %s is refused", async (field) => {
    const { router, seen } = setUp();
    const text = `{"id":1,"name":"rooms.list","input":{${JSON.stringify(field)}:{"admin":true}}}`;
    expect(codeOf(await router.handleText(text, script))).toBe("bad-request");
    expect(seen).toEqual([]);
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });
});

describe("shapes", () => {
  test.each([
    ["timeline.load", { roomId: "!a:b", limit: -5 }, "limit"],
    ["timeline.load", { roomId: "!a:b", limit: 1.5 }, "limit"],
    ["timeline.load", {}, "roomId"],
    ["rooms.create", { kind: "dm", invite: ["@bob:localhost", "no-user"] }, "invite.1"],
    ["file.choose", { purpose: "open", filters: [{ name: "a", extensions: [], extra: 1 }] }, "filters.0.?"],
    ["rooms.list", { surprising: true }, "?"],
  ])("%s with a wrong field says which", async (name, input, path) => {
    const { ask, seen } = setUp();
    const response = await ask(name, input);
    expect([codeOf(response), detailsOf(response)]).toEqual(["bad-request", { path }]);
    expect(seen).toEqual([]);
  });

  test("a value is never in the answer, nor in the log", async () => {
    const { router, ask, logged } = setUp();
    const responses = [
      await ask("timeline.send", { roomId: "hunter2", body: "hunter2" }),
      await ask("vault.unlock", { passphrase: ["hunter2"] }),
      await ask("rooms.list", { hunter2: 1 }),
      await ask("hunter2", {}),
      await ask("rooms.list", {}, { account: "hunter2" }),
      await ask("rooms.list", {}, { hunter2: 1 }),
      await router.handleText('{"id":1,"name":"hunter2', script),
    ];
    expect(responses.every((response) => !response.ok)).toBe(true);
    expect(JSON.stringify([responses, logged])).not.toContain("hunter2");
  });
});

describe("accounts", () => {
  test("nobody signed in", async () => {
    const { ask } = setUp({ userIds: [] });
    expect(codeOf(await ask("rooms.list"))).toBe("not-signed-in");
    expect(codeOf(await ask("account.status"))).toBe("ok");
    expect(codeOf(await ask("account.login", { homeserver: "h", user: "u", password: "p" }))).toBe("ok");
  });

  test("several signed in: one has to be named, and one that is not there is not signed in", async () => {
    const { ask, seen } = setUp({ userIds: ["@alice:localhost", "@bob:localhost"] });
    expect(detailsOf(await ask("rooms.list"))).toEqual({ path: "account" });
    expect(codeOf(await ask("rooms.list", {}, { account: "@carol:localhost" }))).toBe("not-signed-in");
    expect(codeOf(await ask("rooms.list", {}, { account: "@bob:localhost" }))).toBe("ok");
    expect(seen.map(({ account }) => account)).toEqual(["@bob:localhost"]);
  });
});

test("a vault that is not open answers for all but the vault's, the app's and the status", async () => {
  const { ask, state } = setUp();
  state.vault = new HostError("locked");
  for (const name of ["rooms.list", "account.list"]) expect(codeOf(await ask(name))).toBe("locked");
  expect(codeOf(await ask("account.login", { homeserver: "h", user: "u", password: "p" }))).toBe("locked");
  for (const name of ["vault.status", "vault.retryKeychain", "app.info"]) expect(codeOf(await ask(name))).toBe("ok");
  expect(await ask("account.status")).toMatchObject({ value: { at: "signed-out" } });
});

test("what a handler throws by mistake is unexpected, and its message goes nowhere", async () => {
  const { ask, state } = setUp();
  state.throws = new TypeError("Cannot read hunter2");
  const response = await ask("rooms.list");
  expect(codeOf(response)).toBe("unexpected");
  expect(JSON.stringify(response)).not.toContain("hunter2");
  state.throws = Object.assign(new Error("write"), { code: "ENOSPC" });
  expect(codeOf(await ask("rooms.list"))).toBe("disk-full");
});

describe("files", () => {
  const fileCommands = {
    "backup.import": command()(v.strictObject({ path: filePath("open"), note: v.optional(v.string()) })),
    "backup.export": command()(v.strictObject({ path: v.optional(filePath("save")) })),
  };

  test("a window names a grant and the core gets its path", async () => {
    const { ask, grants, seen } = setUp({ coreCommands: fileCommands });
    const path = grants.give("/home/a/keys.txt", "open");
    expect(codeOf(await ask("backup.import", { path, note: "n" }, {}, window))).toBe("ok");
    expect(seen[0]?.input).toEqual({ path: "/home/a/keys.txt", note: "n" });
    expect(codeOf(await ask("backup.import", { path }, {}, window))).toBe("forbidden");
  });

  test("a window's raw path, a grant for another purpose and a made-up one are forbidden", async () => {
    const { ask, grants, seen } = setUp({ coreCommands: fileCommands });
    const path = grants.give("/home/a/keys.txt", "save");
    for (const wrong of ["/etc/passwd", "../../etc/passwd", path, "A".repeat(22)])
      expect(codeOf(await ask("backup.import", { path: wrong }, {}, window))).toBe("forbidden");
    expect(codeOf(await ask("backup.export", {}, {}, window))).toBe("ok");
    expect(seen).toHaveLength(1);
  });

  test("a request that fails for another reason leaves its grant unused", async () => {
    const { ask, grants } = setUp({ coreCommands: fileCommands });
    const path = grants.give("/home/a/keys.txt", "open");
    await ask("backup.import", { path, note: 5 }, {}, window);
    await ask("backup.import", { path }, { account: "@carol:localhost" }, window);
    expect(codeOf(await ask("backup.import", { path }, {}, window))).toBe("ok");
  });

  test("a script names paths, relative to where it stands", async () => {
    const { ask, seen } = setUp({ coreCommands: fileCommands });
    expect(codeOf(await ask("backup.import", { path: "keys.txt" }))).toBe("ok");
    expect(seen[0]?.input).toEqual({ path: "/from/keys.txt" });
    expect(codeOf(await ask("backup.import", { path: "keys\0.txt" }))).toBe("bad-request");
  });

  test("a path where the router would not see it does not start", () => {
    const hidden = { "a.b": command()(v.strictObject({ paths: v.array(filePath("open")) })) };
    expect(() => setUp({ coreCommands: hidden })).toThrow();
  });
});

describe("hostile callers", () => {
  const runs = process.env["TESSERA_FULL"] === "1" ? 10_000 : 2000;
  const marker = "zq7Marker";
  const marked = fc.string({ maxLength: 40, unit: "binary" }).map((text) => `${marker}${text}`);
  const names = [...Object.keys(hostCommands), ...Object.keys(coreCommands)];
  const fields = [
    "roomId",
    "userId",
    "itemId",
    "limit",
    "before",
    "body",
    "kind",
    "invite",
    "passphrase",
    "path",
    "url",
    "user",
    "homeserver",
    "password",
    "__proto__",
    "constructor",
  ];
  const leaf = fc.oneof(
    marked,
    fc.double(),
    fc.bigInt(),
    fc.boolean(),
    fc.constantFrom(null, undefined, Number.NaN, -0, "", "\0", "!a:b", "@a:b", 2 ** 53, Symbol("s"), () => marker),
    fc.date({ noInvalidDate: false }),
    fc.uint8Array({ maxLength: 20 }),
  );
  const value = fc.letrec<{ any: unknown }>((tie) => ({
    any: fc.oneof(
      { maxDepth: 5 },
      leaf,
      fc.array(tie("any"), { maxLength: 5 }),
      fc.dictionary(fc.oneof(fc.constantFrom(...fields), marked), tie("any"), { maxKeys: 6 }),
      fc.array(fc.tuple(marked, tie("any")), { maxLength: 3 }).map((pairs) => new Map(pairs)),
    ),
  })).any;
  const request = fc.oneof(
    value,
    fc.record(
      {
        id: fc.oneof(fc.integer(), fc.constantFrom("a", "b"), value),
        name: fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...names) }, { weight: 1, arbitrary: value }),
        input: fc.oneof(
          { weight: 4, arbitrary: fc.dictionary(fc.constantFrom(...fields), value, { maxKeys: 5 }) },
          { weight: 1, arbitrary: value },
        ),
        account: fc.oneof(fc.constantFrom(undefined, "@alice:localhost"), value),
        [marker]: value,
      },
      { requiredKeys: ["id", "name", "input"] },
    ),
  );

  function check(response: Response): void {
    expect(typeof response.ok).toBe("boolean");
    if (response.ok) return;
    expect(failureCodes).toContain(response.error.code);
    expect(JSON.stringify(response.error)).not.toContain(marker);
    expect(response.id === null || typeof response.id === "number" || typeof response.id === "string").toBe(true);
  }

  test(`${runs} generated requests as objects: an answer each, no value echoed or logged`, async () => {
    const { router, logged } = setUp();
    await fc.assert(
      fc.asyncProperty(request, fc.constantFrom(window, script), async (payload, caller) => {
        check(await router.handle(payload, caller));
      }),
      { numRuns: runs, seed: 20_260 },
    );
    expect(logged.join("\n")).not.toContain(marker);
  });

  test(`${runs} generated lines of bytes: an answer each, no value echoed or logged`, async () => {
    const { router, logged } = setUp();
    const whole = fc.json().map((text) => Buffer.from(text));
    const cut = fc.tuple(request, fc.nat()).map(([payload, at]) => {
      const text = JSON.stringify(payload, (_key, part: unknown) =>
        typeof part === "bigint" ? Number(part) : part,
      ) as string | undefined;
      const bytes = Buffer.from(text ?? marker);
      return at % 3 === 0 ? bytes.subarray(0, at % (bytes.length + 1)) : bytes;
    });
    await fc.assert(
      fc.asyncProperty(fc.oneof(whole, cut, fc.uint8Array({ maxLength: 300 })), async (line) => {
        check(await router.handleText(line, script));
      }),
      { numRuns: runs, seed: 20_261 },
    );
    expect(logged.join("\n")).not.toContain(marker);
  });
});
