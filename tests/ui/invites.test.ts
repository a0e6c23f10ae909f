import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, describe, expect, test } from "vitest";
import type { Alarm, Invite, Join, JoinCode, Scanned } from "../../preload/contract/invites.ts";
import { eventually } from "../eventually.ts";
import { inviteLink } from "../fakes/bridge-invites.ts";
import { own, roomIds } from "../fakes/bridge-rooms.ts";
import { verificationCode } from "../fakes/bridge-verification.ts";
import { png } from "../webcam/png.ts";
import { drawFrame, plain } from "../webcam/scene.ts";
import { approach, asCamera, nothing } from "../webcam/video.ts";
import type { OpenOptions } from "./harness/browser.ts";
import { recordTracks } from "./harness/tracks.ts";
import { expectAccessibleInBoth, useWindow } from "./harness/use-window.ts";

const folder = mkdtempSync(path.join(tmpdir(), "tessera-invites-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const ben = "@ben:far.example";
const bensLink = inviteLink(ben, 7);
const camera = { permissions: ["camera"] };
const day = 86_400_000;
const { open } = useWindow(() => asCamera(folder, "nothing", nothing()));

async function opened(options: OpenOptions = {}): Promise<Page> {
  const { page } = await open({
    context: camera,
    ...options,
    scenario: { lastOpened: roomIds.ana, ...options.scenario },
  });
  await page.locator("article").last().waitFor();
  return page;
}
const calls = (page: Page, name?: string): Promise<{ name: string; input: unknown }[]> =>
  page.evaluate(
    (wanted) =>
      window.fake.calls.filter((one) =>
        wanted === undefined
          ? /^(invites\.(create|withdraw|revive|keepOpen|accept|answer)|rooms\.(create|join)|people\.)/.test(one.name)
          : one.name === wanted,
      ),
    name,
  );
const title = (page: Page, name: string | RegExp): Promise<void> =>
  page.getByRole("dialog").getByRole("heading", { name }).waitFor();
const openLink = (page: Page, link: string): Promise<void> =>
  page.evaluate((text) => {
    window.fake.invites.open(text);
  }, link);
const to = (page: Page, state: Join["state"]): Promise<void> =>
  page.evaluate((next) => {
    window.fake.invites.to(next);
  }, state);
const showCode = async (page: Page): Promise<void> => {
  await page.getByRole("button", { name: "Invite or scan a code" }).click();
  await page.getByRole("img", { name: "The code to be scanned" }).waitFor();
};
const scanTab = async (page: Page): Promise<void> => {
  await page.keyboard.press("Control+n");
  await page.getByRole("button", { name: "Scan their code instead" }).click();
  await page.getByLabel("Or paste a link or an address").waitFor();
};
const paste = async (page: Page, text: string): Promise<void> => {
  await page.getByLabel("Or paste a link or an address").fill(text);
  await page.keyboard.press("Enter");
};
const settings = async (page: Page): Promise<void> => {
  await page.locator(".own").click();
  await page.getByRole("tab", { name: "Invites" }).click();
};

describe("a code of one's own", () => {
  test("is made when the dialog opens, says what it does and how long, and is held open every minute", async () => {
    const { page } = await open({ scenario: { lastOpened: roomIds.ana } });
    await page.locator("article").last().waitFor();
    await page.clock.install();
    await showCode(page);
    await title(page, "Scan to chat with you");
    await page.getByText("The first to scan it is verified at once").waitFor();
    await page.getByText(/^Expires in (23 h 59 min|24 h)$/).waitFor();
    expect(await calls(page)).toEqual([{ name: "invites.create", input: { kind: "contact", preset: "show" } }]);
    await page.clock.runFor(61_000);
    await page.getByText("Expires in 23 h 58 min").waitFor();
    expect(await calls(page, "invites.keepOpen")).toEqual([{ name: "invites.keepOpen", input: { tokenId: "token1" } }]);
    await page.getByRole("button", { name: "Close" }).click();
    await page.clock.runFor(200_000);
    expect(await calls(page, "invites.keepOpen")).toHaveLength(1);
  });

  for (const [theme, scale] of [
    ["light", 1],
    ["dark", 1.25],
    ["dark", 2],
  ] as const)
    test(`can be read off the screen, ${theme}, at a scale of ${scale}, and is the link that was made`, async () => {
      const shown = await opened({
        scenario: { preferences: { theme } },
        context: { deviceScaleFactor: scale },
      });
      await showCode(shown);
      const screen = await shown.getByRole("dialog").screenshot({ animations: "disabled" });
      const [link] = await shown.evaluate(() => window.fake.invites.links);
      const page = await opened();
      await scanTab(page);
      await page
        .locator("input[type=file]")
        .setInputFiles({ name: "screen.png", mimeType: "image/png", buffer: screen });
      await title(page, "This is your own code");
      const [inspected] = await calls(page, "invites.inspect");
      const { bytes } = inspected?.input as { bytes: string };
      expect(Buffer.from(bytes, "base64").toString()).toBe(link);
    });

  test("its modules are whole pixels of the screen at every scale", async () => {
    for (const deviceScaleFactor of [1, 1.25, 1.5, 2, 3]) {
      const page = await opened({ context: { deviceScaleFactor } });
      await showCode(page);
      const { width, modules } = await page.getByRole("img", { name: "The code to be scanned" }).evaluate((code) => ({
        width: code.getBoundingClientRect().width,
        modules: Number(code.getAttribute("viewBox")?.split(" ")[2]),
      }));
      const pixels = (width * deviceScaleFactor) / modules;
      expect([deviceScaleFactor, Math.abs(pixels - Math.round(pixels)) < 0.02, modules]).toEqual([
        deviceScaleFactor,
        true,
        49,
      ]);
      expect(pixels / deviceScaleFactor).toBeGreaterThanOrEqual(6.5);
    }
  });

  test("another kind has a label, which must fit into a code", async () => {
    const page = await opened();
    await showCode(page);
    await page.getByRole("button", { name: "Another kind of code" }).click();
    await page.getByRole("radio", { name: "A card for one person" }).check();
    const label = page.getByLabel("What to call it");
    await label.fill("ÄÖÜÄÖÜÄÖÜÄÖÜ+");
    await page.getByText("That is too long for a code").waitFor();
    expect(await page.getByRole("button", { name: "Make this code" }).isDisabled()).toBe(true);
    await label.fill("Flyer");
    await page.getByRole("button", { name: "Make this code" }).click();
    await page.getByText("Good for one person, who is verified at once.").waitFor();
    await page.getByText("Flyer · Expires in 89 days").or(page.getByText("Flyer · Expires in 90 days")).waitFor();
    expect((await calls(page)).at(-1)).toEqual({
      name: "invites.create",
      input: { kind: "contact", preset: "card", label: "Flyer" },
    });
  });

  test("its link is copied, and is on the page nowhere else", async () => {
    const page = await opened({ context: { permissions: ["clipboard-read", "clipboard-write"] } });
    await showCode(page);
    await page.getByRole("button", { name: "Copy link" }).click();
    await page.getByText("Link copied.").waitFor();
    const [link = ""] = await page.evaluate(() => window.fake.invites.links);
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(link);
    const payload = link.slice(link.lastIndexOf("=") + 1);
    expect(await page.evaluate(() => document.documentElement.outerHTML)).not.toContain(payload);
  });

  test("it is saved as a picture and as a drawing, through a file that the person chose", async () => {
    const page = await opened();
    await showCode(page);
    const [link = ""] = await page.evaluate(() => window.fake.invites.links);
    for (const [format, entry] of [
      ["png", "As a picture (PNG)"],
      ["svg", "As a drawing (SVG)"],
    ] as const) {
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByRole("menuitem", { name: entry }).click();
      await eventually(
        () => calls(page, "file.save"),
        (saves) => saves.length === (format === "png" ? 1 : 2),
      );
      expect((await calls(page, "file.choose")).at(-1)?.input).toEqual({
        purpose: "save",
        name: `Tessera code _mara_tessera.example.${format}`,
        filters: [{ name: format.toUpperCase(), extensions: [format] }],
      });
      const { path: grant, base64 } = (await calls(page, "file.save")).at(-1)?.input as {
        path: string;
        base64: string;
      };
      expect(grant).toBe(format === "png" ? "grant-1" : "grant-2");
      const file = Buffer.from(base64, "base64");
      if (format === "svg") {
        expect(file.toString()).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 57 57"/);
        expect(file.toString()).not.toContain(link.slice(-40));
        continue;
      }
      const reader = await opened();
      await scanTab(reader);
      await reader.locator("input[type=file]").setInputFiles({ name: "a.png", mimeType: "image/png", buffer: file });
      await title(reader, "This is your own code");
      const { bytes } = (await calls(reader, "invites.inspect"))[0]?.input as { bytes: string };
      expect(Buffer.from(bytes, "base64").toString()).toBe(link);
    }
  });

  test("where there is no file dialog, the browser saves it", async () => {
    const page = await opened({ scenario: { backup: { chooses: "no-dialog" } } });
    await showCode(page);
    await page.getByRole("button", { name: "Save" }).click();
    const downloading = page.waitForEvent("download");
    await page.getByRole("menuitem", { name: "As a picture (PNG)" }).click();
    expect((await downloading).suggestedFilename()).toBe("Tessera code _mara_tessera.example.png");
  });

  test("it is printed as a card that says whose it is, and the page comes back", async () => {
    const page = await opened();
    await page.evaluate(() => {
      window.print = () => undefined;
    });
    await showCode(page);
    await page.getByRole("button", { name: "Print a card" }).click();
    const card = page.locator("body > .print-card");
    await page.emulateMedia({ media: "print" });
    expect(await card.isVisible()).toBe(true);
    expect(await page.getByRole("dialog").isVisible()).toBe(false);
    expect(await card.textContent()).toContain(own.userId);
    expect(await card.locator("svg").getAttribute("viewBox")).toBe("0 0 57 57");
    const size = await card.locator("svg").boundingBox();
    // 0.8 mm a module and more: read from half an arm's length
    expect((size?.width ?? 0) / 57).toBeGreaterThan(3);
    await page.evaluate(() => dispatchEvent(new Event("afterprint")));
    await page.emulateMedia({ media: "screen" });
    expect(await card.count()).toBe(0);
  });

  test("whoever joins is named while it is shown, and is asked about where the time has passed", async () => {
    const page = await opened();
    await showCode(page);
    await page.evaluate((userId) => {
      window.fake.invites.use("token1", userId);
    }, ben);
    await page.getByText(`${ben} is in a chat with you`).waitFor();
    await page.getByText("You are asked about whoever scans it from now on.").waitFor();
    await page.evaluate(() => {
      window.fake.invites.ask({ requestId: "r1", userId: "@eve:elsewhere.example", tokenId: "token1" });
    });
    const dialog = page.getByRole("dialog");
    await dialog.getByText("Did you give this code to them?").waitFor();
    await dialog.getByText("@eve:elsewhere.example").waitFor();
    await dialog.getByRole("button", { name: "No", exact: true }).click();
    expect((await calls(page)).at(-1)).toEqual({ name: "invites.answer", input: { requestId: "r1", gave: false } });
    await dialog.getByText("Did you give this code to them?").waitFor({ state: "detached" });
  });

  test("it is withdrawn at once, and another can be shown", async () => {
    const page = await opened();
    await showCode(page);
    await page.getByRole("dialog").getByRole("button", { name: "Withdraw the code" }).click();
    await page.getByText("Nobody can join with this code any more.").waitFor();
    expect((await calls(page)).at(-1)).toEqual({ name: "invites.withdraw", input: { tokenId: "token1" } });
    expect(await page.getByRole("img", { name: "The code to be scanned" }).count()).toBe(0);
    await page.getByRole("button", { name: "Show a new one" }).click();
    await page.getByRole("img", { name: "The code to be scanned" }).waitFor();
  });

  test("of a group is made from its people", async () => {
    const page = await opened({ scenario: { lastOpened: roomIds.lab } });
    await page.getByRole("button", { name: "People", exact: true }).click();
    await page.getByRole("button", { name: "By code" }).click();
    await title(page, "Scan to join “Lab meeting”");
    await page.getByRole("img", { name: "The code to be scanned" }).waitFor();
    expect(await calls(page)).toEqual([
      { name: "invites.create", input: { kind: "group", roomId: roomIds.lab, preset: "show" } },
    ]);
    expect(await page.getByRole("dialog").getByText("Scan a code").count()).toBe(0);
  });

  test("where nothing is set up to be recognised by, that is said and leads there", async () => {
    const page = await opened({ scenario: { invites: { setupNeeded: true } } });
    await page.getByRole("button", { name: "Invite or scan a code" }).click();
    await page.getByText("Your account has nothing yet by which others could recognise it.").waitFor();
    await page.getByRole("button", { name: "Set it up now" }).click();
    await title(page, "Keep your history safe");
  });
});

describe("what was scanned or opened", () => {
  const { open: openScanning } = useWindow(() => asCamera(folder, "ben", approach(bensLink)));

  test("by camera: the sheet with the whole address, and nothing before it is pressed; then the chat", async () => {
    const { page } = await openScanning({ scenario: { lastOpened: roomIds.ana }, context: camera });
    await page.locator("article").last().waitFor();
    const tracks = await recordTracks(page);
    await scanTab(page);
    await title(page, "Chat with ben?");
    const dialog = page.getByRole("dialog");
    await dialog.getByText(ben, { exact: true }).waitFor();
    await dialog.getByText("Scanned with the camera").waitFor();
    await eventually(tracks.states, (states) => states.length > 0 && states.every((one) => one === "ended"));
    expect(await calls(page, "invites.accept")).toEqual([]);
    expect(await dialog.getByRole("button").allTextContents()).toEqual(["Start verified chat", ""]);
    await dialog.getByRole("button", { name: "Start verified chat" }).click();
    await title(page, "Waiting for ben");
    expect(await calls(page, "invites.accept")).toEqual([{ name: "invites.accept", input: { text: bensLink } }]);
    await page.evaluate((userId) => {
      window.fake.meet(userId);
    }, ben);
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.getByRole("heading", { name: "ben", exact: true }).waitFor();
    await page.getByRole("complementary", { name: "Invitation" }).getByText("Waiting for ben").waitFor();
  });

  test("a picture, a paste, a typed link and an opened one give the same sheet, each with where it is from", async () => {
    const sources: [string, (page: Page) => Promise<void>][] = [
      [
        "A picture",
        async (page) => {
          await scanTab(page);
          const buffer = png(drawFrame(bensLink, plain));
          await page.locator("input[type=file]").setInputFiles({ name: "c.png", mimeType: "image/png", buffer });
        },
      ],
      [
        "Pasted",
        async (page) => {
          await scanTab(page);
          await page.evaluate((text) => {
            const data = new DataTransfer();
            data.setData("text/plain", text);
            document.body.dispatchEvent(
              new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }),
            );
          }, bensLink);
        },
      ],
      [
        "Pasted",
        async (page) => {
          await scanTab(page);
          await paste(page, `  ${bensLink}\n`);
        },
      ],
      ["A link that was opened outside of Tessera", (page) => openLink(page, bensLink)],
    ];
    for (const [source, bring] of sources) {
      const page = await opened();
      await bring(page);
      await title(page, "Chat with ben?");
      await page.getByRole("dialog").getByText(source, { exact: true }).waitFor();
      await page.getByRole("dialog").getByText(ben, { exact: true }).waitFor();
      expect(await calls(page)).toEqual([]);
      await page.context().close();
    }
  });

  test("fifty links at once show one sheet, which stays as it is, and nothing is done (scenario 33)", async () => {
    const page = await opened();
    const links = Array.from({ length: 50 }, (_, index) => inviteLink(`@p${index}:far.example`, index));
    await page.evaluate((all) => {
      for (const link of all) window.fake.invites.open(link);
    }, links);
    await title(page, "Chat with p0?");
    await page.getByText("49 more links were opened at the same time and left aside.").waitFor();
    expect(await page.getByRole("dialog").count()).toBe(1);
    for (const link of links.slice(1, 4)) await openLink(page, link);
    await page.getByText("52 more links were").waitFor();
    await page.getByRole("heading", { name: "Chat with p0?" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await calls(page)).toEqual([]);
    expect(await calls(page, "invites.inspect")).toHaveLength(1);
  });

  test("a link that was opened before the window was there, or while another sheet stands, waits", async () => {
    const early = await opened({ scenario: { invites: { links: [bensLink] } } });
    await title(early, "Chat with ben?");
    const page = await opened();
    await page.keyboard.press("Control+k");
    await page.getByRole("dialog").waitFor();
    await openLink(page, bensLink);
    await eventually(
      () => calls(page, "invites.inspect"),
      (all) => all.length === 1,
    );
    expect(await page.getByRole("heading", { name: "Chat with ben?" }).count()).toBe(0);
    await page.keyboard.press("Escape");
    await title(page, "Chat with ben?");
  });

  test("Enter meant for elsewhere does not press the button", async () => {
    const page = await opened();
    await page.getByRole("textbox", { name: "Write to Ana" }).focus();
    await openLink(page, bensLink);
    await title(page, "Chat with ben?");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Space");
    expect(await calls(page, "invites.accept")).toEqual([]);
  });

  test("a label is shown as the word of whoever made the code, with nothing in it that misleads", async () => {
    const scanned: Scanned = {
      ...{ kind: "invite", userId: ben, inviteKind: "group", own: false },
      label: "Mum\u202e\u200b",
    };
    const page = await opened({ scenario: { invites: { scans: { [bensLink]: scanned } } } });
    await openLink(page, bensLink);
    await title(page, "Join a group of ben?");
    await page.getByText("“Mum”", { exact: true }).waitFor();
    await page.getByText("Written by whoever made the code").waitFor();
    await page.getByRole("button", { name: "Verify and join" }).click();
    await title(page, "Waiting for ben");
    await to(page, { at: "done", result: "mutual", roomId: roomIds.lab });
    await page.getByRole("heading", { name: "Lab meeting", exact: true }).waitFor();
    await page.getByText("You and ben have verified each other").waitFor();
  });

  test("each other kind has its sentence and its next step", async () => {
    const unknown = (reason: Extract<Scanned, { kind: "unknown" }>["reason"]): Scanned => ({ kind: "unknown", reason });
    const kinds: [Scanned, string | RegExp, string][] = [
      [{ kind: "user", userId: ben }, "This is the address of ben", "Start chat"],
      [{ kind: "user", userId: "@ana:example.org" }, "This is the address of ana", "Open the chat"],
      [
        { kind: "room", room: "#reading:far.example", via: ["far.example"] },
        "This is the address of a room",
        "Join the room",
      ],
      [{ kind: "room", room: roomIds.lab, via: [] }, "This is the address of a room", "Open the room"],
      [{ kind: "verification" }, "This code is for verifying", "Close"],
      [{ kind: "sign-in" }, "This code signs in a device", "Close"],
      [unknown("not-a-code"), "This is not an invitation", "Scan another"],
      [unknown("corrupt"), "This is not an invitation", "Scan another"],
      [unknown("expired"), "This code has expired", "Scan another"],
      [unknown("newer-version"), "This is not an invitation", "Scan another"],
      [unknown("too-long"), "This is not an invitation", "Scan another"],
    ];
    const page = await opened({
      scenario: { invites: { scans: Object.fromEntries(kinds.map(([scanned], index) => [`code ${index}`, scanned])) } },
    });
    const said = new Set<string>();
    for (const [index, [, heading, button]] of kinds.entries()) {
      await openLink(page, `code ${index}`);
      await title(page, heading);
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("button", { name: button, exact: true }).first().waitFor();
      said.add((await dialog.textContent()) ?? "");
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
    }
    expect(said.size).toBe(kinds.length);
    expect(await calls(page)).toEqual([]);

    await openLink(page, "code 0");
    await page.getByRole("button", { name: "Start chat" }).click();
    await page.getByRole("heading", { name: ben }).waitFor();
    expect(await calls(page)).toEqual([{ name: "rooms.create", input: { kind: "dm", invite: [ben] } }]);
    await openLink(page, "code 2");
    await page.getByRole("button", { name: "Join the room" }).click();
    // the fake knows no such room: the sheet stays and says so
    await page.getByRole("dialog").getByRole("alert").waitFor();
    expect((await calls(page)).at(-1)).toEqual({
      name: "rooms.join",
      input: { room: "#reading:far.example", via: ["far.example"] },
    });
  });

  test("a verification's code leads to the verification that has begun", async () => {
    const page = await opened();
    await page.evaluate((roomId) => {
      window.fake.verification.put({
        ...{ flowId: "$flow", userId: "@ana:example.org", mine: true, requestedAtMs: Date.now(), roomId },
        ...{ methods: ["emoji", "qr-show", "qr-scan"], state: { at: "ready" } },
      });
    }, roomIds.ana);
    await scanTab(page);
    const buffer = png(drawFrame(Uint8Array.from(Buffer.from(verificationCode(2), "base64")), plain));
    await page.locator("input[type=file]").setInputFiles({ name: "c.png", mimeType: "image/png", buffer });
    await page.getByRole("button", { name: "Go to the verification" }).click();
    await title(page, "How would you like to compare?");
  });

  test("one's own code leads to the list of codes, or to confirming this device first", async () => {
    const link = inviteLink(own.userId, 3);
    const page = await opened();
    await openLink(page, link);
    await page.getByRole("button", { name: "See my codes" }).click();
    await page.getByRole("heading", { name: "Codes in use" }).waitFor();
    const secrets = { master: false, selfSigning: false, userSigning: false, backup: false };
    const other = await opened({
      scenario: {
        preferences: { remindedMs: Date.now() },
        trust: { status: { identity: "this-device-unverified", secrets } },
      },
    });
    // the sign-in's own question comes weekly
    await other.evaluate(() => window.core.call("trust.status", {}));
    await openLink(other, link);
    await other.getByRole("button", { name: "Confirm this device" }).click();
    await title(other, "Is it you?");
    expect(await calls(page, "invites.accept")).toEqual([]);
  });

  test("somebody who was verified with another identity is asked about before anything is done", async () => {
    const page = await opened({ scenario: { invites: { changed: [ben] } } });
    await openLink(page, bensLink);
    await page.getByRole("button", { name: "Start verified chat" }).click();
    await title(page, "ben’s identity is not the one you verified");
    await page.getByRole("dialog").getByText(ben, { exact: true }).waitFor();
    await page.getByRole("button", { name: "I asked, it is still them" }).click();
    await title(page, "Waiting for ben");
    expect((await calls(page, "invites.accept")).map((one) => one.input)).toEqual([
      { text: bensLink },
      { text: bensLink, acceptIdentityChange: true },
    ]);
  });

  test("what cannot be begun says why on the sheet, and can be pressed again", async () => {
    const page = await opened({ scenario: { failing: { "invites.accept": "unreachable" } } });
    await openLink(page, bensLink);
    await page.getByRole("button", { name: "Start verified chat" }).click();
    await page.getByRole("alert").getByText("Your server could not be reached, and nothing was done.").waitFor();
    await page.evaluate(() => {
      window.fake.failing = {};
    });
    await page.getByRole("button", { name: "Start verified chat" }).click();
    await title(page, "Waiting for ben");
  });
});

describe("a join", () => {
  const joining: Join = { joinId: "j", userId: "@ana:example.org", state: { at: "waiting" } };
  const card = (page: Page) => page.getByRole("complementary", { name: "Invitation" });

  test("that waits says so after 20 seconds, in the chat and in the list, and that one can write", async () => {
    const { page } = await open({ scenario: { lastOpened: roomIds.ana } });
    await page.locator("article").last().waitFor();
    await page.clock.install();
    await openLink(page, bensLink);
    await page.getByRole("button", { name: "Start verified chat" }).click();
    await title(page, "Waiting for ben");
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).first().click();
    const list = page.getByRole("list", { name: "Invitations you accepted" });
    await list.getByText("Waiting for an answer").waitFor();
    await list.getByText(ben).waitFor();
    await page.clock.runFor(21_000);
    await list.getByText("ben will answer when online").waitFor();
    const roomId = await page.evaluate((userId) => window.fake.meet(userId), ben);
    await page.clock.runFor(1000);
    await list.waitFor({ state: "detached" });
    const row = page.locator(`[data-room="${roomId}"]`);
    await row.getByText("ben will answer when online").waitFor();
    await row.click();
    await card(page).getByText("ben will answer when online").waitFor();
    await card(page).getByText("You can write already.").waitFor();
    await to(page, { at: "proving" });
    await card(page).getByText("ben has answered, almost there").waitFor();
    await to(page, { at: "done", result: "mutual", roomId });
    await card(page).getByText("You and ben have verified each other").waitFor();
    await card(page).getByRole("button", { name: "Hide" }).click();
    expect(await card(page).count()).toBe(0);
  });

  test("one that is older than the window is known to wait for someone offline", async () => {
    const page = await opened({ scenario: { invites: { joins: [joining] } } });
    await card(page).getByText("Ana Ruiz will answer when online").waitFor();
  });

  test("one that had ended before the window was there is not told of again, but for a block", async () => {
    const ended: Join[] = [
      { ...joining, state: { at: "done", result: "mutual", roomId: roomIds.ana } },
      { joinId: "k", userId: ben, state: { at: "failed", code: "used" } },
      { joinId: "l", userId: "@eve:far.example", state: { at: "failed", code: "keys-differ" } },
    ];
    const page = await opened({ scenario: { invites: { joins: ended } } });
    await page.getByText("This code and eve’s account do not belong together").waitFor();
    expect(await card(page).count()).toBe(0);
    expect(await page.getByText("Someone else has used this code").count()).toBe(0);
    // a newer code of hers takes its place
    await openLink(page, inviteLink("@eve:far.example", 9));
    await page.getByRole("button", { name: "Start verified chat" }).click();
    await title(page, "Waiting for eve");
    expect(await page.getByText("This code and eve’s account do not belong together").count()).toBe(0);
  });

  test("where only this side is verified, the ordinary verification is offered", async () => {
    for (const result of ["one-sided", "contact-only"] as const) {
      const page = await opened({ scenario: { invites: { joins: [joining] } } });
      await card(page).waitFor();
      await to(page, { at: "done", result, roomId: roomIds.ana });
      await card(page)
        .getByText(
          result === "one-sided"
            ? "You have verified Ana Ruiz, but not Ana Ruiz you"
            : "You and Ana Ruiz can write to each other",
        )
        .waitFor();
      await card(page).getByRole("button", { name: "Verify each other" }).click();
      await title(page, "Waiting for Ana Ruiz");
      expect((await calls(page, "verification.request")).map((one) => one.input)).toEqual([
        { userId: "@ana:example.org" },
      ]);
    }
  });

  const codes: [JoinCode, string, string?][] = [
    ["keys-differ", "This code and Ana Ruiz’s account do not belong together", "Scan a new code"],
    ["used", "Someone else has used this code", "Scan a new code"],
    ["expired", "The code expired before Ana Ruiz answered", "Scan a new code"],
    ["setup-needed", "Your own account comes first", "Set it up now"],
    ["no-permission", "Ana Ruiz may not let anyone into that group"],
    ["gone", "Ana Ruiz is no longer in that group"],
    ["ignored", "You ignore Ana Ruiz", "Stop ignoring"],
    ["unreachable", "Ana Ruiz’s server cannot be reached"],
    ["not-found", "There is nobody at @ana:example.org", "Scan a new code"],
    ["cancelled", "The invitation of Ana Ruiz was not finished"],
  ];
  test("every way to fail or to be held up is told in words, in both languages, with what to do", async () => {
    for (const language of ["en", "de"] as const) {
      const page = await opened({ scenario: { invites: { joins: [joining] }, preferences: { language } } });
      const shown = page.locator("aside.card");
      await shown.waitFor();
      const said = new Set<string>();
      for (const [code, heading, action] of codes)
        for (const at of ["failed", "blocked"] as const) {
          await to(page, { at, code });
          // the group itself is asked in the inviter's place
          const knocked = at === "blocked" && code === "no-permission";
          const wanted = knocked ? "You have asked to be let into the group" : heading;
          await eventually(
            () => shown.locator(".title").textContent(),
            (text) => text !== null && text !== "" && (language === "de" || text === wanted),
          );
          if (language === "en" && action !== undefined) await shown.getByRole("button", { name: action }).waitFor();
          said.add((await shown.locator(".title").textContent()) ?? "");
          expect(await shown.textContent()).not.toMatch(/keys-differ|setup-needed|no-permission|not-found/);
        }
      expect([language, said.size]).toEqual([language, codes.length + 1]);
      await page.context().close();
    }
  });

  test("a block by keys says what it means and what to do, and the chat is held up", async () => {
    const page = await opened({ scenario: { invites: { joins: [joining] } } });
    await to(page, { at: "failed", code: "keys-differ" });
    await card(page).getByText("Nothing is sent to Ana Ruiz until that is settled.").waitFor();
    await card(page).getByRole("button", { name: "Scan a new code" }).click();
    await page.getByLabel("Or paste a link or an address").waitFor();
  });

  test("someone who is ignored is no longer, after a press", async () => {
    const page = await opened({ scenario: { invites: { joins: [joining] } } });
    await to(page, { at: "blocked", code: "ignored" });
    await card(page).getByRole("button", { name: "Stop ignoring" }).click();
    await page.getByText("You no longer ignore Ana Ruiz").waitFor();
    expect(await calls(page)).toEqual([
      { name: "people.ignore", input: { userId: "@ana:example.org", ignored: false } },
    ]);
  });
});

const code: Invite = {
  ...{ tokenId: "t1", kind: "contact", preset: "card", label: "Flyer", state: "active", ownedHere: true },
  ...{ createdAtMs: Date.parse("2026-05-03T10:00:00"), uses: [] },
};
describe("codes that were given away", () => {
  test("are listed with what became of them, withdrawn and brought back", async () => {
    const now = Date.now();
    const codes: Invite[] = [
      { ...code, createdAtMs: now - day, expiresAtMs: now + 10 * day, uses: ["@ben:far.example", "@jo:far.example"] },
      { ...code, tokenId: "t2", label: "Old", state: "withdrawn", createdAtMs: now - 2 * day },
      { ...code, tokenId: "t3", label: "Gone", state: "expired", createdAtMs: now - 3 * day },
      {
        ...{ ...code, tokenId: "t4", kind: "group", roomId: roomIds.lab, preset: "personal-link" },
        ...{ label: "Elsewhere", ownedHere: false, createdAtMs: now - 4 * day },
      },
    ];
    const page = await opened({ scenario: { invites: { codes } } });
    await settings(page);
    const active = page.locator("[data-state=active]");
    await active.first().getByText("Flyer").waitFor();
    expect(await active.first().textContent()).toContain("Used by 2: @ben:far.example, @jo:far.example");
    expect(await active.first().textContent()).toMatch(/Expires in (9|10) days/);
    expect(await active.nth(1).textContent()).toContain("For “Lab meeting”");
    expect(await active.nth(1).textContent()).toContain("Only that one answers");
    await page.getByRole("button", { name: "Withdraw “Flyer”" }).click();
    await page.getByText("Withdrawn. Nobody can join with it any more.").waitFor();
    await page.getByText("3 earlier codes").click();
    await page.getByRole("button", { name: "Bring “Flyer” back" }).click();
    await page.getByText("The code is good again").waitFor();
    expect(await page.getByRole("button", { name: "Bring “Gone” back" }).count()).toBe(0);
    expect(await calls(page)).toEqual([
      { name: "invites.withdraw", input: { tokenId: "t1" } },
      { name: "invites.revive", input: { tokenId: "t1" } },
    ]);
  });

  test("a withdrawal can be taken back from its notice", async () => {
    const page = await opened({ scenario: { invites: { codes: [code] } } });
    await settings(page);
    await page.getByRole("button", { name: "Withdraw “Flyer”" }).click();
    await page.getByRole("status").getByRole("button", { name: "Bring back" }).click();
    await page.getByText("The code is good again").waitFor();
  });

  test("who joined unseen is asked about, with the whole address; the word is passed on", async () => {
    const request = { requestId: "r", userId: ben, tokenId: "t1" };
    const page = await opened({ scenario: { invites: { codes: [code], requests: [request] } } });
    const ask = page.getByRole("region", { name: "Did you give this code to them?" });
    await ask.getByText(ben).waitFor();
    await ask.getByText("They have joined with “Flyer”.").waitFor();
    await ask.getByRole("button", { name: "Yes, I did" }).click();
    await page.getByText("ben is being verified").waitFor();
    expect(await calls(page)).toEqual([{ name: "invites.answer", input: { requestId: "r", gave: true } }]);
    expect(await ask.count()).toBe(0);
    await page.evaluate(() => {
      window.fake.invites.ask({ requestId: "s", userId: "@eve:far.example", tokenId: "t1" });
    });
    await ask.getByRole("button", { name: "No", exact: true }).click();
    await page.getByRole("button", { name: "Withdraw the code" }).click();
    await eventually(
      () => calls(page, "invites.withdraw"),
      (all) => all.length === 1,
    );
  });

  test("a single-use code whose maker is silent is taken over only by the person's word", async () => {
    const request = { requestId: "r", userId: ben, tokenId: "t1", takeOver: true } as const;
    const page = await opened({ scenario: { invites: { codes: [code], requests: [request] } } });
    const ask = page.getByRole("region", { name: "Let this device answer for the code?" });
    await ask.getByText(ben).waitFor();
    await ask.getByRole("button", { name: "Answer here" }).click();
    await page.getByText("This device answers for the code now").waitFor();
    expect(await calls(page)).toEqual([{ name: "invites.answer", input: { requestId: "r", gave: true } }]);
  });

  test("each alarm says what happened and lets one withdraw the code", async () => {
    const kinds: [Alarm["kind"], string][] = [
      ["second-key", "Someone may be posing as @ben:far.example"],
      ["two-users", "Two people used a code for one"],
      ["withdrawn-but-used", "@ben:far.example joined with a code that you had withdrawn"],
      ["flood", "Very many are trying a code of yours"],
    ];
    for (const [kind, heading] of kinds) {
      const page = await opened({ scenario: { invites: { codes: [code] } } });
      await page.evaluate(
        (alarm) => {
          window.fake.invites.alarm(alarm);
        },
        { alarmId: "a", kind, tokenId: "t1", userIds: [ben, "@eve:far.example"], atMs: Date.now() } as Alarm,
      );
      const alarm = page.getByRole("alert").filter({ hasText: heading });
      await alarm.getByText("“Flyer”").or(alarm.getByText("Flyer")).first().waitFor();
      await alarm.getByRole("button", { name: "Withdraw the code" }).click();
      await alarm.getByRole("button", { name: "Withdraw the code" }).waitFor({ state: "detached" });
      expect(await calls(page)).toEqual([{ name: "invites.withdraw", input: { tokenId: "t1" } }]);
      await alarm.getByRole("button", { name: "Put away" }).focus();
      await page.keyboard.press("Enter");
      await alarm.waitFor({ state: "detached" });
      expect(await calls(page, "invites.putAway")).toEqual([{ name: "invites.putAway", input: { alarmId: "a" } }]);
      // seen is seen, on the settings page too
      await settings(page);
      await page.locator("#codes-active").waitFor();
      expect(await page.getByRole("alert").count()).toBe(0);
      await page.context().close();
    }
  });
});

describe("for everyone", () => {
  test("all of it goes by keyboard", async () => {
    const page = await opened({ scenario: { invites: { codes: [code] } } });
    await page.getByRole("button", { name: "Invite or scan a code" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("img", { name: "The code to be scanned" }).waitFor();
    await page.keyboard.press("ArrowRight");
    await page.getByLabel("Or paste a link or an address").focus();
    await page.keyboard.type(bensLink);
    await page.keyboard.press("Enter");
    await title(page, "Chat with ben?");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await title(page, "Waiting for ben");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await calls(page, "invites.accept")).toHaveLength(1);
  });

  const views: [string, (page: Page) => Promise<void>, string][] = [
    ["my code", (page) => page.locator("button.icon-button").first().click(), "[role=dialog] svg[role=img]"],
    [
      "another kind",
      async (page) => {
        await page.locator("button.icon-button").first().click();
        await page.locator("[role=dialog] .others .link").first().click();
      },
      "[role=dialog] form",
    ],
    [
      "scanning",
      async (page) => {
        await page.locator("button.icon-button").first().click();
        await page.locator("[role=dialog] fieldset label").nth(1).click();
      },
      "[role=dialog] [data-camera=on]",
    ],
    ["the sheet", (page) => openLink(page, bensLink), "[role=dialog] .address"],
    [
      "the list",
      async (page) => {
        await page.locator(".own").click();
        await page.locator("#tab-invites").click();
        await page.locator("summary").first().click();
      },
      "[data-state=withdrawn]",
    ],
    [
      "a block",
      async (page) => {
        await to(page, { at: "failed", code: "keys-differ" });
      },
      "aside.card.danger",
    ],
  ];
  const busy = {
    codes: [code, { ...code, tokenId: "t2", state: "withdrawn" as const }],
    joins: [{ joinId: "j", userId: "@ana:example.org", state: { at: "waiting" as const } }],
    requests: [{ requestId: "r", userId: ben, tokenId: "t1" }],
    alarms: [{ alarmId: "a", kind: "flood" as const, tokenId: "t1", userIds: [], atMs: 0 }],
  };
  for (const [theme, language] of [
    ["light", "en"],
    ["dark", "de"],
  ] as const)
    test.each(views)(
      `axe finds nothing: %s, ${language}, ${theme} and then the other theme`,
      async (name, act, shown) => {
        const page = await opened({ scenario: { invites: busy, preferences: { theme, language } } });
        await page.locator(".notes").waitFor();
        await act(page);
        await page.locator(shown).first().waitFor();
        await expectAccessibleInBoth(page, `${name}, ${language}`);
      },
    );

  test.each(views)("text at 200 percent loses nothing sideways: %s", async (_name, act, shown) => {
    const page = await opened({ scenario: { invites: busy } });
    await page.locator(".notes").waitFor();
    await act(page);
    await page.locator(shown).first().waitFor();
    await page.evaluate(() => (document.documentElement.style.fontSize = "200%"));
    const lost = await page.evaluate(() =>
      [...document.querySelectorAll("[role=dialog], .notes, [role=tabpanel], aside.card, html")]
        .filter((one) => one.scrollWidth > one.clientWidth + 1)
        .map((one) => one.className),
    );
    expect(lost).toEqual([]);
  });
});

describe("what the person decides later", () => {
  const exchanged = {
    ...code,
    uses: [ben],
    digits: [
      { userId: ben, digits: "654321", refused: true as const },
      { userId: ben, digits: "012345" },
    ],
  };
  const ana = "@ana:example.org";
  const waiting: Join = { joinId: "j", userId: ana, state: { at: "waiting" } };

  for (const [language, means, putAway] of [
    ["en", /read them to Ana/, "Put away"],
    ["de", /lies sie Ana/, "Weglegen"],
  ] as const)
    test(`six digits stand in a contact's details and beside an alarm about identities, ${language}`, async () => {
      const alarm: Alarm = { alarmId: "a", kind: "second-key", tokenId: "t1", userIds: [ben], atMs: 0 };
      const done: Join = { ...waiting, digits: "271828", state: { at: "done", result: "mutual", roomId: roomIds.ana } };
      const invites = { codes: [exchanged], joins: [done], alarms: [alarm] };
      const page = await opened({ scenario: { preferences: { language }, invites } });
      const shown = page.getByRole("alert");
      await shown.getByText("012 345").waitFor();
      expect(await shown.getByRole("listitem").allTextContents()).toEqual([
        expect.stringMatching(/^012 345\s+@ben:far\.example, /),
        expect.stringMatching(/^654 321\s+@ben:far\.example, /),
      ]);
      await shown.getByRole("button", { name: putAway }).waitFor();
      await page.locator("main header button").last().click();
      const details = page.locator(".details");
      await details.getByText("271 828").waitFor();
      await details.getByText(means).waitFor();
    });

  test("a join that goes on is cancelled after a question, by keyboard, and says what stays", async () => {
    const page = await opened({ scenario: { invites: { joins: [waiting] } } });
    const card = page.getByRole("complementary", { name: "Invitation", exact: true });
    await card.getByRole("button", { name: "Cancel" }).focus();
    await page.keyboard.press("Enter");
    await title(page, /^Cancel joining Ana/);
    await page.getByRole("dialog").getByRole("button", { name: "Keep waiting" }).click();
    expect(await calls(page, "invites.cancel")).toEqual([]);
    await card.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel the join" }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await card.getByText("What was already signed or sent stays").waitFor();
    expect(await calls(page, "invites.cancel")).toEqual([{ name: "invites.cancel", input: { joinId: "j" } }]);
    expect(await card.getByRole("button", { name: "Cancel" }).count()).toBe(0);
  });

  test("who does not want to set up an account now may only write; into a group nobody comes that way", async () => {
    const blocked: Join = { ...waiting, state: { at: "blocked", code: "setup-needed" } };
    const page = await opened({
      scenario: { invites: { joins: [blocked, { ...blocked, joinId: "g", userId: ben, group: true }] } },
    });
    const card = page.getByRole("complementary", { name: "Invitation", exact: true });
    await card.getByRole("button", { name: "Only open the chat" }).click();
    await card.getByText("Nobody was verified yet").waitFor();
    expect(await calls(page, "invites.contactOnly")).toEqual([{ name: "invites.contactOnly", input: { joinId: "j" } }]);
    await page
      .getByRole("list", { name: "Invitations you accepted" })
      .getByRole("button", { name: "Cancel" })
      .waitFor();
    expect(await page.getByRole("button", { name: "Only open the chat" }).count()).toBe(0);
  });

  test("a code that is there is shown again, and its window is not held open", async () => {
    const { page } = await open({
      scenario: { lastOpened: roomIds.ana, invites: { codes: [{ ...code, preset: "show" }] } },
    });
    await page.locator("article").last().waitFor();
    await settings(page);
    await page.clock.install();
    await page.getByRole("button", { name: "Show “Flyer”" }).click();
    await page.getByRole("img", { name: "The code to be scanned" }).waitFor();
    await page.clock.runFor(130_000);
    expect(await calls(page)).toEqual([]);
    expect(await calls(page, "invites.show")).toEqual([{ name: "invites.show", input: { tokenId: "t1" } }]);
  });
});
