// What a person would do in the demo's window, done by Playwright: find the chat, write, see it sent, see the answer.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { _electron, chromium } from "playwright-core";
import { chromiumPath, ensureSystem } from "./setup-system.mjs";

const viewport = { width: 1180, height: 760 };
const message = "Is this still just between the two of us?";

async function openPage({ door, electron, root, profile }) {
  if (electron !== undefined) {
    const app = await _electron.launch({
      executablePath: electron,
      args: [root, "--profile", profile.profile, "--passphrase-file", profile.passphraseFile],
    });
    return { page: await app.firstWindow(), close: () => app.close(), what: "Electron" };
  }
  await ensureSystem(["chromium"]);
  const browser = await chromium.launch({
    executablePath: chromiumPath(),
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  const page = await browser.newPage({ viewport, colorScheme: "light", locale: "en-GB" });
  return { page, close: () => browser.close(), what: `Chromium ${browser.version()}`, address: door.url };
}

/** True where every step was seen. Screenshots go to test-results/. */
export async function checkWindow({ door, electron, root, profile, roomId, say }) {
  const folder = path.join(root, "test-results");
  mkdirSync(folder, { recursive: true });
  const { page, close, what, address } = await openPage({ door, electron, root, profile });
  say(`the window is ${what}`);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (line) => {
    if (line.type() === "error") complaints.push(line.text());
  });
  // what a new account is asked, when it is asked
  await page.addLocatorHandler(page.getByRole("dialog"), () => page.keyboard.press("Escape"));
  const steps = {
    "room list visible": async () => {
      if (address !== undefined) await page.goto(address);
      await page.locator(`[data-room="${roomId}"]`).waitFor();
    },
    "chat open, its messages readable": async () => {
      await page.locator(`[data-room="${roomId}"]`).click();
      await page.locator("article", { hasText: "the good sandwiches" }).waitFor();
    },
    "message in its own window": async () => {
      const field = page.locator("form textarea");
      await field.fill(message);
      await field.press("Enter");
      await page.locator("article", { hasText: message }).first().waitFor();
    },
    "message sent": async () => {
      const { items } = await untilSent(page, roomId);
      if (!items.some((item) => item.body === message && item.encryption.at === "encrypted"))
        throw new Error("The message that was sent is not encrypted.");
    },
    "answer readable": () => page.locator("article", { hasText: `You wrote “${message}”` }).waitFor(),
    "screenshots light and dark": async () => {
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: path.join(folder, `demo-${colorScheme}.png`) });
      }
    },
  };
  try {
    for (const [step, work] of Object.entries(steps)) {
      const fromMs = performance.now();
      await work();
      say(`${step}: ${Math.round(performance.now() - fromMs)} ms`);
    }
    for (const complaint of complaints) say(`the window complained: ${complaint}`);
    return complaints.length === 0;
  } catch (error) {
    await page.screenshot({ path: path.join(folder, "demo-failed.png") }).catch(() => undefined);
    say(error instanceof Error ? error.message : "failed");
    for (const complaint of complaints) say(`the window complained: ${complaint}`);
    return false;
  } finally {
    await close();
  }
}

/** Asks the page's own bridge until nothing is on its way any more. */
async function untilSent(page, roomId) {
  for (;;) {
    const answer = await page.evaluate((input) => globalThis.core.call("timeline.load", input), { roomId, limit: 5 });
    if (!answer.ok) throw new Error(answer.error.code);
    if (answer.value.items.every((item) => item.state === "sent")) return answer.value;
    await page.waitForTimeout(20);
  }
}
