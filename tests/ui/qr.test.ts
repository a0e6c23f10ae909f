import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Page } from "playwright-core";
import { afterAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { roomIds } from "../fakes/bridge-rooms.ts";
import { verificationCode } from "../fakes/bridge-verification.ts";
import { png } from "../webcam/png.ts";
import { drawFrame, plain } from "../webcam/scene.ts";
import { approach, asCamera, held, nothing } from "../webcam/video.ts";
import { recordTracks } from "./harness/tracks.ts";
import { useWindow } from "./harness/use-window.ts";

// Real frames through Chromium's own camera stack, the built window's own worker and wasm; only the core is a fake.
const folder = mkdtempSync(path.join(tmpdir(), "tessera-webcam-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const bytesOf = (base64: string): Uint8Array => Uint8Array.from(Buffer.from(base64, "base64"));
const theirs = verificationCode(2);
const scenario = { lastOpened: roomIds.ana };
const camera = { permissions: ["camera"] };

/** Up to the scanner, on a flow that is ready. */
async function openScanner(page: Page): Promise<void> {
  await page.getByText("page 12 is the one").first().waitFor();
  await page.evaluate((roomId) => {
    window.fake.verification.put({
      ...{ flowId: "$flow", userId: "@ana:example.org", mine: true, requestedAtMs: Date.now(), roomId },
      ...{ methods: ["emoji", "qr-show", "qr-scan"], state: { at: "ready" } },
    });
  }, roomIds.ana);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("button", { name: "Scan", exact: true }).click();
}
const scanned = (page: Page): Promise<unknown[]> =>
  page.evaluate(() => window.fake.calls.filter(({ name }) => name === "verification.scanQr").map(({ input }) => input));
const cameraIs = (page: Page, at: string): Promise<void> => page.locator(`[data-camera="${at}"]`).waitFor();

describe("a code that is brought into view", () => {
  const { open } = useWindow(() => asCamera(folder, "approach", approach(bytesOf(theirs))));

  test("tilted, dim, out of focus and at first half out of view, it is read byte for byte and the camera goes off", async () => {
    const { page, trouble } = await open({ scenario, context: camera });
    const tracks = await recordTracks(page);
    await openScanner(page);
    await page.getByRole("heading", { name: "Waiting for Ana Ruiz" }).waitFor();
    expect(await scanned(page)).toEqual([{ flowId: "$flow", bytes: theirs }]);
    expect(await tracks.states()).toEqual(["ended"]);
    expect(trouble).toEqual([]);
  });
});

describe("a code of another kind", () => {
  const { open } = useWindow(() => asCamera(folder, "link", held("https://matrix.to/#/@ana:example.org")));

  test("is said to be one, sent nowhere, and scanning goes on", async () => {
    const { page } = await open({ scenario, context: camera });
    await openScanner(page);
    await page.getByText("This code is a link, perhaps an invitation.").waitFor();
    expect(await scanned(page)).toEqual([]);
    await cameraIs(page, "on");
  });
});

describe("a camera that sees no code", () => {
  const { open } = useWindow(() => asCamera(folder, "nothing", nothing()));

  const roads: Record<string, (page: Page) => Promise<void>> = {
    "the sheet is closed": (page) => leaving(page, () => document.querySelector<HTMLElement>(".dialog-close")?.click()),
    "another way is chosen": (page) =>
      leaving(page, () => document.querySelector<HTMLElement>(".dialog-sheet .back")?.click()),
    "the other side ends it": (page) =>
      leaving(page, () => {
        window.fake.verification.to("$flow", { at: "cancelled", code: "m.user", byMe: false });
      }),
    "the session ends": (page) =>
      leaving(page, () => {
        window.fake.emit("account.changed", { status: { at: "signed-out" } });
      }),
    "the window is hidden": (page) =>
      leaving(page, () => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }),
    "the page is left": (page) =>
      leaving(page, () => {
        dispatchEvent(new PageTransitionEvent("pagehide"));
      }),
  };

  /** Does it, and looks 200 ms later by the page's own clock, which no slow machine can put ahead of what was done. */
  async function leaving(page: Page, act: () => void): Promise<void> {
    const states = await page.evaluate(`(async () => {
      (${act.toString()})();
      await new Promise((resolve) => setTimeout(resolve, 200));
      return window.recordedTracks.map((track) => track.readyState);
    })()`);
    expect(states).toEqual(["ended"]);
  }

  for (const [road, leave] of Object.entries(roads))
    test(`its light is off 200 ms after ${road}`, async () => {
      const { page } = await open({ scenario, context: camera });
      const tracks = await recordTracks(page);
      await openScanner(page);
      await cameraIs(page, "on");
      expect(await tracks.states()).toEqual(["live"]);
      await leave(page);
    });

  test("it is off also where it comes only after one has left", async () => {
    const { page } = await open({ scenario, context: camera });
    const tracks = await recordTracks(page, { hold: true });
    await openScanner(page);
    await cameraIs(page, "starting");
    await page.getByRole("button", { name: "Another way" }).click();
    await tracks.release();
    await eventually(tracks.states, (states) => states.length === 1 && states[0] === "ended");
  });

  test("it comes back with the window", async () => {
    const { page } = await open({ scenario, context: camera });
    await openScanner(page);
    await cameraIs(page, "on");
    const hide = (hidden: boolean) =>
      page.evaluate((value) => {
        Object.defineProperty(document, "hidden", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    await hide(true);
    await cameraIs(page, "off");
    await hide(false);
    await cameraIs(page, "on");
  });

  test("a decoder that cannot load is said, and the camera goes off", async () => {
    const { page } = await open({ scenario, context: camera });
    const tracks = await recordTracks(page);
    await page.context().route(/\.wasm$/, (route) => route.abort());
    await openScanner(page);
    await page.getByText("Codes cannot be read on this computer.").waitFor();
    expect(await tracks.states()).toEqual(["ended"]);
  });

  test("a picture of the code does as well: chosen, dropped or pasted", async () => {
    const { page } = await open({ scenario, context: camera });
    await openScanner(page);
    const picture = (code: Uint8Array | undefined) => png(drawFrame(code, { ...plain, tilt: [4, 6] }));
    const choose = (name: string, mimeType: string, buffer: Buffer) =>
      page.locator("input[type=file]").setInputFiles({ name, mimeType, buffer });

    await choose("desk.png", "image/png", picture(undefined));
    await page.getByText("No code was found in that picture.").waitFor();
    await choose("letter.png", "image/png", Buffer.from("Dear Ana, this is a letter."));
    await page.getByText("That is not a picture that can be opened.").waitFor();
    await choose("other.png", "image/png", picture(bytesOf(verificationCode(5))));
    await page.getByText("This code belongs to another verification.").waitFor();

    const handOver = (how: "paste" | "drop", buffer: Buffer) =>
      page.evaluate(
        ([event, base64]) => {
          const data = new DataTransfer();
          const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
          data.items.add(new File([bytes], "code.png", { type: "image/png" }));
          document.body.dispatchEvent(
            event === "paste"
              ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
              : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }),
          );
        },
        [how, buffer.toString("base64")] as const,
      );
    await handOver("drop", picture(bytesOf(verificationCode(6))));
    await eventually(
      () => scanned(page),
      (inputs) => inputs.length === 2,
    );
    await handOver("paste", picture(bytesOf(theirs)));
    await page.getByRole("heading", { name: "Waiting for Ana Ruiz" }).waitFor();
    expect((await scanned(page)).at(-1)).toEqual({ flowId: "$flow", bytes: theirs });
  });

  test("a code that names other keys is told apart from one of another verification", async () => {
    const { page } = await open({
      scenario: { ...scenario, failing: { "verification.scanQr": "wrong-key" } },
      context: camera,
    });
    await openScanner(page);
    const buffer = png(drawFrame(bytesOf(theirs), plain));
    await page.locator("input[type=file]").setInputFiles({ name: "code.png", mimeType: "image/png", buffer });
    await page.getByText("This code names other keys").waitFor();
    await cameraIs(page, "on");
  });

  for (const [theme, scale] of [
    ["light", 1],
    ["dark", 1.25],
    ["dark", 2],
  ] as const)
    test(`the code that is shown can be read off the screen, ${theme}, at a scale of ${scale}`, async () => {
      const shown = await open({
        scenario: { ...scenario, preferences: { theme } },
        context: { deviceScaleFactor: scale },
      });
      await openScanner(shown.page);
      await shown.page.getByRole("button", { name: "Show my code" }).click();
      const screen = await shown.page.getByRole("dialog").screenshot({ animations: "disabled" });
      const { page } = await open({ scenario, context: camera });
      await openScanner(page);
      await page
        .locator("input[type=file]")
        .setInputFiles({ name: "screen.png", mimeType: "image/png", buffer: screen });
      await eventually(
        () => scanned(page),
        (inputs) => inputs.length > 0,
      );
      expect(await scanned(page)).toEqual([{ flowId: "$flow", bytes: verificationCode(1) }]);
    });

  test("where it may not be used, that is said, and it starts once it may", async () => {
    const { page } = await open({ scenario });
    await openScanner(page);
    await page.getByText("The camera is not allowed").waitFor();
    await page.context().grantPermissions(["camera"]);
    await page.getByRole("button", { name: "Try again" }).click();
    await cameraIs(page, "on");
  });

  test("where another program holds it, that is said", async () => {
    const { page } = await open({ scenario, context: camera });
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("taken", "NotReadableError"));
    });
    await openScanner(page);
    await page.getByText("The camera is taken").waitFor();
    await page.getByRole("button", { name: "Try again" }).waitFor();
  });
});

describe("without any camera", () => {
  const { open } = useWindow(() => ["--use-fake-device-for-media-stream=device-count=0"]);

  test("that is said, and one that is plugged in starts by itself", async () => {
    const { page } = await open({ scenario, context: camera });
    await openScanner(page);
    await page.getByText("No camera was found").waitFor();
    await page.evaluate(() => {
      const canvas = document.createElement("canvas");
      canvas.getContext("2d");
      navigator.mediaDevices.getUserMedia = () => Promise.resolve(canvas.captureStream());
      navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
    });
    await cameraIs(page, "on");
  });
});

describe("with two cameras", () => {
  const { open } = useWindow(() => ["--use-fake-device-for-media-stream=device-count=2"]);

  test("one chooses, the choice is kept by its name, and the camera before it goes off", async () => {
    const { page } = await open({ scenario, context: camera });
    const tracks = await recordTracks(page);
    await openScanner(page);
    await cameraIs(page, "on");
    const chooser = page.getByLabel("Camera", { exact: true });
    const labels = await chooser.locator("option").allTextContents();
    expect(labels).toHaveLength(2);
    const other = labels[1] ?? "";
    await chooser.selectOption({ label: other });
    await eventually(tracks.states, (states) => states.length === 2 && states[1] === "live");
    expect(await tracks.states()).toEqual(["ended", "live"]);
    expect(await tracks.labels()).toEqual(labels);
    expect(
      await page.evaluate(() => window.fake.calls.findLast(({ name }) => name === "app.preferences")?.input),
    ).toEqual({ camera: other });

    await page.getByRole("button", { name: "Another way" }).click();
    await page.getByRole("button", { name: "Scan", exact: true }).click();
    await eventually(tracks.labels, (all) => all.length >= 3 && all.at(-1) === other);
    await eventually(tracks.states, (states) => states.at(-1) === "live" && !states.slice(0, -1).includes("live"));
  });

  test("a camera that is pulled out gives way to the next", async () => {
    const { page } = await open({ scenario, context: camera });
    const tracks = await recordTracks(page);
    await openScanner(page);
    await cameraIs(page, "on");
    await page.evaluate(() => {
      const [track] = window.recordedTracks;
      track?.stop();
      track?.dispatchEvent(new Event("ended"));
    });
    await eventually(tracks.states, (states) => states.length === 2 && states[1] === "live");
    await cameraIs(page, "on");
  });
});
