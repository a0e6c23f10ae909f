import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
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
      // the newest page alone: going further back asks the server, which may have ended the session
      const { items } = await app.call("timeline.load", { roomId, limit: 200 });
      expect(items.filter((item) => item.kind === "text").map((item) => item.body)).toEqual(["kept or gone"]);
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
