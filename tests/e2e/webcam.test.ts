import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Answer } from "../../preload/contract/define.ts";
import type { UserTrust } from "../../preload/contract/rooms.ts";
import { startHomeserver, type Homeserver } from "../homeserver/homeserver.ts";
import { launch } from "../ui/harness/browser.ts";
import { approach, writeVideo } from "../webcam/video.ts";
import { joinedChat, newPerson, password, type Person } from "./people.ts";
import { addressOf } from "./windows.ts";

// Nothing is fake but the camera, and that one plays a real video: two profiles, two processes of the built app, real Synapse.
const loopback = fileURLToPath(new URL("../../dist/main/loopback.js", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "tessera-webcam-e2e-"));
const video = path.join(folder, "code.y4m");
let homeserver: Homeserver;
let people: Person[] = [];
let roomId: string;
let browser: Browser;
/** What the door puts into the page. */
type PageSide = { core: { call: (name: string, input: unknown) => Promise<unknown> } };
const doors: ChildProcess[] = [];

beforeAll(async () => {
  homeserver = await startHomeserver();
  const [ana, ben] = await Promise.all([newPerson(homeserver.url, "ana"), newPerson(homeserver.url, "ben")]);
  people = [ana, ben];
  for (const { app } of people) await app.call("trust.setUp", { password, recovery: { kind: "key" } });
  roomId = await joinedChat(ana, ben);
  for (const { app } of people) {
    await app.call("rooms.lastOpened", { roomId });
    await app.call("account.sync", {});
    // the window's door opens the profile next
    await app.stop();
  }
  // the file is opened when the camera is; until then there is no code to make a video of
  browser = await launch(["--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${video}`]);
});
afterAll(async () => {
  await browser.close();
  await Promise.all(
    doors.map(
      (door) =>
        new Promise((resolve) => {
          door.once("exit", resolve);
          door.kill("SIGTERM");
        }),
    ),
  );
  await Promise.all(people.map(({ app }) => app.remove()));
  await homeserver.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function openWindow({ app }: Person): Promise<{ page: Page; code: Promise<string> }> {
  const args = [loopback, "--no-open", "--profile", app.profile, "--passphrase-file", app.passphraseFile];
  const door = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  doors.push(door);
  const address = await addressOf(door);
  const context = await browser.newContext({ locale: "en-GB", permissions: ["camera"] });
  const page = await context.newPage();
  page.setDefaultTimeout(110_000);
  const code = codeShownBy(page);
  await page.goto(address);
  await page.locator(`[data-room="${roomId}"]`).waitFor();
  return { page, code };
}

/** The code that the core answers its window with, read from the door's own socket. */
function codeShownBy(page: Page): Promise<string> {
  return new Promise((resolve) => {
    page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => {
        const bytes = /"bytes":"([A-Za-z0-9+/]+)/.exec(payload.toString())?.[1];
        if (bytes !== undefined) resolve(bytes);
      });
    });
  });
}

const identityOf = async (page: Page, userId: string): Promise<string> => {
  const answer = (await page.evaluate(
    (who) => (globalThis as unknown as PageSide).core.call("trust.user", { userId: who }),
    userId,
  )) as Answer<UserTrust>;
  return answer.ok ? answer.value.identity : answer.error.code;
};

test("two people verify each other: one window shows its code, the other reads it by webcam, and both say so", async () => {
  const [ana, ben] = people as [Person, Person];
  const { page: shows, code } = await openWindow(ana);
  const { page: scans } = await openWindow(ben);
  expect(await identityOf(shows, ben.userId)).not.toBe("verified");

  await shows.evaluate(
    (userId) => (globalThis as unknown as PageSide).core.call("verification.request", { userId }),
    ben.userId,
  );
  await scans.getByRole("dialog").getByRole("button", { name: "Accept" }).click();
  await shows.getByRole("button", { name: "Continue" }).click();
  await shows.getByRole("button", { name: "Show my code" }).click();
  writeVideo(video, approach(Uint8Array.from(Buffer.from(await code, "base64"))));

  await scans.getByRole("button", { name: "Scan", exact: true }).click();
  await shows.getByRole("heading", { name: /device show a tick\?$/ }).waitFor({ timeout: 120_000 });
  await shows.getByRole("button", { name: "Yes, a tick" }).click();
  for (const page of [shows, scans])
    await page.getByRole("heading", { name: /is verified$/ }).waitFor({ timeout: 120_000 });
  await expect.poll(() => identityOf(shows, ben.userId)).toBe("verified");
  await expect.poll(() => identityOf(scans, ana.userId)).toBe("verified");
  await scans.locator('[data-camera="on"]').waitFor({ state: "detached" });
});
