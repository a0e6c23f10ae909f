import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { hostileHtml, hostileRoom } from "../fakes/bridge-hostile.ts";
import { standsStill, useWindow } from "./harness/use-window.ts";

const { open } = useWindow();

/** Every message of the room, drawn one after the other while walking up. */
async function readAll(page: Page): Promise<Map<string, { text: string; html: string }>> {
  const seen = new Map<string, { text: string; html: string }>();
  await page.locator("article").first().waitFor();
  await page.locator(".body.html, .body.text a").first().waitFor({ state: "attached" });
  for (;;) {
    const found = await page.evaluate(() =>
      [...document.querySelectorAll("article")].map(
        (node) =>
          [
            node.dataset["item"] ?? "",
            node.querySelector(".bubble")?.textContent ?? "",
            node.querySelector(".body")?.outerHTML ?? "",
          ] as const,
      ),
    );
    for (const [id, text, html] of found) seen.set(id, { text, html });
    if (seen.has("$html-image")) break;
    await page.getByRole("log").evaluate((node) => (node.scrollTop -= 350));
    await standsStill(page.getByRole("log"));
  }
  return seen;
}

test("nothing that a hostile message carries runs, loads or restyles, and its text stays readable", async () => {
  const { page, trouble } = await open({ scenario: { rooms: "hostile", lastOpened: hostileRoom.roomId } });
  const seen = await readAll(page);
  const html = [...seen.values()].map((one) => one.html).join("\n");
  const text = (name: string): string => seen.get(`$html-${name}`)?.text ?? "";

  expect([...seen.keys()].filter((id) => id.startsWith("$html-"))).toHaveLength(Object.keys(hostileHtml).length);
  expect(await page.evaluate(() => (window as unknown as { hacked?: number }).hacked)).toBeUndefined();
  expect(html).not.toMatch(
    /<(?:img|script|style|iframe|object|embed|svg|math|form|input|button|video|audio|link|noscript)\b/i,
  );
  expect(html).not.toMatch(/ (?:on\w+|style|src|name|target|title)=/i);
  expect(html).not.toMatch(/href="(?!https?:\/\/|mailto:)/i);
  expect(html).not.toContain("dialog-veil");
  // The sanitiser parses in a document of its own, where the policy refuses handlers and styles before they are taken out.
  expect(trouble.filter((one) => !/^console: (?:Executing|Applying) inline .* violates/.test(one))).toEqual([]);

  for (const [name, expected] of [
    ["image", "after image"],
    ["script", "script after"],
    ["javascript", "a javascript link"],
    ["style", "style survived"],
    ["frame", "frame gone"],
    ["svg", "svg gone"],
    ["form", "form gone"],
    ["media", "media gone"],
    ["halfDeep", "deep inside"],
    ["unclosed", "unclosed"],
  ] as const)
    expect(text(name)).toContain(expected);
});

test("what is too deep or too long falls back to its plain text", async () => {
  const { page } = await open({ scenario: { rooms: "hostile", lastOpened: hostileRoom.roomId } });
  const seen = await readAll(page);
  expect(seen.get("$html-deep")?.text).toContain("plain text of deep");
  expect(seen.get("$long-html")?.text).toContain("plain of the long one");
  expect(seen.get("$empty-html")?.text).toContain("only plain");
  expect(seen.get("$long")?.text).toContain("Show the whole message");
});

test("control characters and overrides of direction are taken out of bodies and names", async () => {
  const { page } = await open({ scenario: { rooms: "hostile", lastOpened: hostileRoom.roomId } });
  await readAll(page);
  const all = await page.locator("body").evaluate((node) => node.textContent);
  // eslint-disable-next-line no-control-regex -- control characters are what must not be there
  expect(all).not.toMatch(/[\u0000-\u0008\u000e-\u001f\u007f\u202d\u202e]/);
  await page.getByRole("heading", { name: "Quietecalp room second line" }).waitFor();
});

test("a link says where it goes, whatever its text pretends", async () => {
  const { page } = await open({ scenario: { rooms: "hostile", lastOpened: hostileRoom.roomId } });
  await readAll(page);
  const link = page.getByRole("link", { name: "https://looks-like.example.com" });
  while ((await link.count()) === 0) {
    await page.getByRole("log").evaluate((node) => (node.scrollTop += 250));
    await standsStill(page.getByRole("log"));
  }
  await link.hover();
  await page.getByText("https://real.example.org/target", { exact: true }).waitFor();
  await link.click();
  expect(
    await page.evaluate(() => window.fake.calls.filter((one) => one.name === "app.openLink").map((one) => one.input)),
  ).toEqual([{ url: "https://real.example.org/target" }]);
});

test("a replayed message and one of an unknown device say so in a sentence", async () => {
  const { page } = await open({ scenario: { rooms: "hostile", lastOpened: hostileRoom.roomId } });
  await page.getByText("This is an older message that was sent again by someone in between.").waitFor();
  await page.getByText("Jo Castellano’s identity does not vouch for the device this came from.").waitFor();
});
