import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { joinedChat, newPerson, password, received, sent, type Person } from "./people.ts";

const bodies = {
  own: "Meet me where the heron stands",
  other: "Bring the lantern with the crack",
  draft: "A sentence nobody sent yet",
  topic: "Lanterns and herons",
};

let homeserver: Homeserver;
let proxy: FaultProxy;
let ana: Person;
let ben: Person;
let secrets: Record<string, string>;

beforeAll(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
  ana = await newPerson(proxy.url, "ana", { verbose: true });
  ben = await newPerson(homeserver.url, "ben");
  const roomId = await joinedChat(ana, ben);
  const { itemId } = await ana.app.call("timeline.send", { roomId, body: bodies.own });
  await sent(ana.app, roomId, itemId);
  await received(ben.app, roomId, bodies.own);
  await ben.app.call("timeline.send", { roomId, body: bodies.other });
  await received(ana.app, roomId, bodies.other);
  await ana.app.call("timeline.draft", { roomId, body: bodies.draft });
  const named = await ana.app.call("rooms.create", { kind: "group", name: bodies.topic });
  // what fails is logged too
  await ana.app.ask("timeline.send", { roomId: "!nowhere:tessera.test", body: bodies.own });
  await ana.app.ask("account.login", { homeserver: proxy.url, user: "ana", password: "wrong", [bodies.own]: 1 });
  await ana.app.ask("account.login", { homeserver: proxy.url, user: "someone-else", password });
  await ana.app.ask("vault.unlock", { passphrase: bodies.draft });
  proxy.on(
    { path: /\/send\// },
    { kind: "status", status: 500, body: { errcode: "M_UNKNOWN", error: bodies.own } },
    { times: 1 },
  );
  proxy.on({ path: /\/sync$/ }, { kind: "status", status: 502, body: bodies.other }, { times: 1 });
  await ana.app.call("timeline.send", { roomId: named.roomId, body: bodies.own });
  await ana.app.kill("SIGKILL");
  await ana.app.start();
  // the sync that the proxy spoils, and one that it leaves alone
  await ana.app.ask("account.sync", {});
  await ana.app.call("account.sync", {});

  const tokens = new Set(
    proxy.exchanges.flatMap((one) => one.requestHeaders.authorization?.replace(/^Bearer /, "") ?? []),
  );
  const [token = ""] = tokens;
  const { fingerprint } = (await ana.app.call("account.status", {})) as { fingerprint?: string };
  expect(tokens.size).toBe(1);
  expect(token.length).toBeGreaterThan(20);
  expect(fingerprint).toMatch(/^[\w+/]{43}$/);
  secrets = {
    ...bodies,
    password,
    token,
    passphrase: readFileSync(ana.app.passphraseFile, "utf8").trim(),
    // public, yet a sign that keys are written out
    fingerprint: fingerprint ?? "",
  };
});
afterAll(async () => {
  await Promise.all([ana.app.remove(), ben.app.remove()]);
  await proxy.stop();
  await homeserver.stop();
});

/** As it would lie in a file: in UTF-8, in UTF-16 of both orders, in base64 at each of the three alignments, in hex, percent-encoded. */
function formsOf(secret: string): Buffer[] {
  const utf8 = Buffer.from(secret, "utf8");
  const utf16 = Buffer.from(secret, "utf16le");
  const base64 = [0, 1, 2].flatMap((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), utf8]).toString("base64");
    // the first and last characters depend on what stands beside the secret
    const stable = encoded.slice(Math.ceil((shift * 8) / 6), Math.floor(((shift + utf8.length) * 8) / 6));
    return [stable, stable.replaceAll("+", "-").replaceAll("/", "_")];
  });
  return [
    utf8,
    utf16,
    Buffer.from(utf16).swap16(),
    ...base64.map((text) => Buffer.from(text)),
    Buffer.from(utf8.toString("hex")),
    Buffer.from(encodeURIComponent(secret)),
    Buffer.from(JSON.stringify(secret).slice(1, -1)),
  ];
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
}

function found(bytes: Buffer): string[] {
  return Object.entries(secrets).flatMap(([name, secret]) =>
    formsOf(secret).some((form) => bytes.includes(form)) ? [name] : [],
  );
}

test("the search finds each form of a secret", () => {
  for (const [name, secret] of Object.entries(secrets)) {
    for (const form of formsOf(secret))
      expect(found(Buffer.concat([Buffer.from("before"), form, Buffer.from("after")]))).toContain(name);
    for (const shift of ["", "x", "xy"])
      expect(found(Buffer.from(Buffer.from(`${shift}${secret}zz`).toString("base64")))).toContain(name);
  }
});

test("a debug run's logs and the whole profile hold no message, token, key or passphrase, while running and after a stop", async () => {
  const check = () => {
    const files = filesBelow(ana.app.profile);
    expect(files.some((file) => file.endsWith("account.db"))).toBe(true);
    expect(files.some((file) => file.endsWith("crypto.db"))).toBe(true);
    const log = files.find((file) => file.endsWith(path.join("logs", "tessera.log")));
    expect(readFileSync(log ?? "", "utf8")).toContain(" debug ");
    for (const file of files)
      expect({ file: path.basename(file), found: found(readFileSync(file)) }).toEqual({
        file: path.basename(file),
        found: [],
      });
  };
  check();
  await ana.app.stop();
  check();
  expect(ana.app.stderr).toContain(" debug ");
  expect(found(Buffer.from(ana.app.stderr))).toEqual([]);
});

test("nobody else may read the profile", () => {
  for (const file of filesBelow(ana.app.profile))
    expect({ file, mode: statSync(file).mode & 0o077 }).toEqual({ file, mode: 0 });
  expect(statSync(ana.app.profile).mode & 0o077).toBe(0);
});
