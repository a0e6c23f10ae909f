import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startFaultProxy, type FaultProxy } from "../homeserver/fault-proxy.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import type { HeadlessApp } from "./headless-app.ts";
import { newPerson, password, texts, type Person } from "./people.ts";

// A kill in the middle of a sign-out leaves somebody who is signed in with all that is theirs, or nobody with nothing.
let homeserver: Homeserver;
let proxy: FaultProxy;
let count = 0;
const isLogout = { method: "POST", path: /\/logout$/ };

beforeAll(async () => {
  homeserver = await startHomeserver();
  proxy = await startFaultProxy(homeserver.url);
});
afterAll(async () => {
  await proxy.stop();
  await homeserver.stop();
});

const accountFolders = (app: HeadlessApp) => {
  const folder = path.join(app.profile, "accounts");
  return existsSync(folder) ? readdirSync(folder) : [];
};

type Ended = "signed-in" | "signed-out";

/** Somebody with a message of their own, who signs out and is killed; says as what they came back, having checked that it is whole. */
async function killedWhile(signingOut: (person: Person) => Promise<void>): Promise<Ended> {
  const person = await newPerson(proxy.url, `fay-${++count}`);
  const { app } = person;
  try {
    const { roomId } = await app.call("rooms.create", { kind: "group", name: "mine" });
    const { itemId } = await app.call("timeline.send", { roomId, body: "kept or gone" });
    await app.waitFor(
      ({ event, payload }) =>
        event === "timeline.changed" &&
        (payload as { items: { itemId: string; state: string }[] }).items.some(
          (item) => item.itemId === itemId && item.state === "sent",
        ),
    );
    proxy.clear();
    await signingOut(person);
    proxy.clear();
    await app.start();
    const { at } = await app.call("account.status", {});
    if (at === "signed-out") {
      expect(accountFolders(app)).toEqual([]);
      expect(await app.call("account.list", {})).toEqual([]);
    } else {
      expect(accountFolders(app)).toHaveLength(1);
      expect(await texts(app, roomId)).toEqual(["kept or gone"]);
      // signed in still, or softly signed out where the server had ended the session: then the same device can come back
      const synced = await app.ask("account.sync", {});
      if (!synced.ok) {
        expect(synced.error.code).toBe("not-signed-in");
        const again = await app.call("account.login", { homeserver: proxy.url, user: person.user, password });
        expect(again.deviceId).toBe(person.deviceId);
        await app.call("account.sync", {});
      }
      expect(await texts(app, roomId)).toEqual(["kept or gone"]);
      await app.call("account.logout", { force: true });
      expect(accountFolders(app)).toEqual([]);
    }
    // the profile takes somebody new in either case
    await app.call("account.login", { homeserver: proxy.url, user: person.user, password });
    await app.call("account.sync", {});
    return at;
  } finally {
    await app.remove();
  }
}

const begin = ({ app }: Person) => {
  // its process will be gone before it answers
  app.ask("account.logout", { force: true }).catch(() => undefined);
};

test("killed before the server heard of it: signed in as before", async () => {
  const ended = await killedWhile(async (person) => {
    proxy.on(isLogout, { kind: "hold" });
    begin(person);
    await proxy.waitFor(isLogout, { state: "arrived" });
    await person.app.kill("SIGKILL");
  });
  expect(ended).toBe("signed-in");
});

test("killed when the server had ended the session and had not said so yet: nothing is deleted", async () => {
  const ended = await killedWhile(async (person) => {
    let killed: Promise<unknown> | undefined;
    proxy.on(isLogout, {
      kind: "rewrite-response",
      json: (body) => {
        killed = person.app.kill("SIGKILL");
        return body;
      },
    });
    begin(person);
    await proxy.waitFor(isLogout);
    await killed;
  });
  expect(ended).toBe("signed-in");
});

test("killed at moments after the server's answer: all of it or nothing", async () => {
  const rounds = process.env["TESSERA_FULL"] === "1" ? 60 : 6;
  // how long it takes from there when nothing comes between, so that the kills spread over all of it
  let wholeMs = 0;
  expect(
    await killedWhile(async ({ app }) => {
      const ended = app.call("account.logout", { force: true });
      await proxy.waitFor(isLogout);
      const fromMs = performance.now();
      await ended;
      wholeMs = performance.now() - fromMs;
      await app.kill("SIGKILL");
    }),
  ).toBe("signed-out");
  const ends: Ended[] = [];
  for (let round = 0; round < rounds; round++)
    ends.push(
      await killedWhile(async (person) => {
        begin(person);
        await proxy.waitFor(isLogout);
        await sleep((wholeMs * 1.2 * round) / rounds);
        await person.app.kill("SIGKILL");
      }),
    );
  process.stdout.write(
    `[measured] a sign-out ends ${wholeMs.toFixed(0)} ms after the server's answer; killed: ${ends.join(", ")}\n`,
  );
}, 1_800_000);
