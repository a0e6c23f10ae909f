import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { isOwnAddress, isOwnBlob } from "../../main/electron/origin.ts";
import { firstState, parseWindowState, readWindowState } from "../../main/electron/window-state.ts";
import { defaultProfile, parseDoorArguments } from "../../main/host/door-arguments.ts";
import { readPassphraseFile } from "../../main/host/passphrase-file.ts";
import { readWindowFile } from "../../main/host/window-files.ts";

const folder = mkdtempSync(path.join(tmpdir(), "tessera-electron-units-"));
const file = path.join(folder, "window-state.json");
const screens = [
  { x: 0, y: 0, width: 1920, height: 1040 },
  { x: 1920, y: 0, width: 1280, height: 1000 },
];
const read = (content: string) => {
  writeFileSync(file, content);
  return readWindowState(file, screens);
};

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe("the window's state", () => {
  const kept = { x: 2000, y: 50, width: 900, height: 700, maximized: true };

  test("is read as it was kept, on any screen", () => {
    expect(read(JSON.stringify(kept))).toEqual(kept);
  });

  test.each([
    ["right of every screen", { x: 3150 }],
    ["left of every screen", { x: -850 }],
    ["above every screen", { y: -10 }],
    ["below every screen", { y: 990 }],
  ])("a window %s keeps its size alone", (_where, place) => {
    expect(read(JSON.stringify({ ...kept, ...place }))).toEqual({ width: 900, height: 700, maximized: true });
  });

  test.each([
    "",
    "{",
    "null",
    "[]",
    '"a"',
    '{"width":10,"height":10}',
    '{"width":"900","height":700}',
    '{"width":900.5,"height":700}',
  ])("the first one holds where the file says %j", (content) => {
    expect(read(content)).toEqual(firstState);
  });

  test("the first one holds where there is no file", () => {
    expect(readWindowState(path.join(folder, "none.json"), screens)).toEqual(firstState);
  });

  test("whatever the file says, it is undefined or a window one can see", () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.dictionary(fc.constantFrom("x", "y", "width", "height", "maximized"), fc.jsonValue()),
        (any, some) => {
          for (const value of [any, some]) {
            const state = parseWindowState(value);
            if (state !== undefined) expect(state.width >= 360 && state.height >= 480).toBe(true);
          }
        },
      ),
      { seed: 3, numRuns: 500 },
    );
  });
});

describe("our own address", () => {
  test.each(["app://tessera", "app://tessera/", "app://tessera/index.html", "app://tessera/?a#b"])(
    "%s is ours",
    (address) => {
      expect(isOwnAddress(address)).toBe(true);
    },
  );

  test.each([
    "",
    "null",
    "about:blank",
    "about:srcdoc",
    "app://tessera.evil/",
    "app://evil/",
    "app://tessera:80/",
    "app://user@tessera/",
    "https://tessera/",
    "file:///tessera",
    "blob:app://tessera/1",
    "javascript:app://tessera/",
  ])("%j is not", (address) => {
    expect(isOwnAddress(address)).toBe(false);
  });

  test("a download may only be what the page made itself", () => {
    expect(isOwnBlob("blob:app://tessera/0b9f")).toBe(true);
    for (const address of [
      "app://tessera/index.html",
      "blob:https://tessera/1",
      "blob:app://evil/1",
      "blob:null/1",
      "https://a/b",
    ])
      expect(isOwnBlob(address)).toBe(false);
  });
});

describe("arguments", () => {
  test("relative paths start at the caller's folder; Chromium's own switches are passed over", () => {
    const args = ["--no-sandbox", "--inspect=0", "--profile", "p", "--passphrase-file=../f", "--verbose"];
    expect(parseDoorArguments(args, path.resolve("/callers/folder"))).toEqual({
      profile: path.resolve("/callers/folder/p"),
      passphraseFile: path.resolve("/callers/f"),
      verbose: true,
      open: true,
    });
  });

  test("the profile is where each system keeps such things", () => {
    expect(defaultProfile("linux", {}, "/home/a")).toBe(path.join("/home/a", ".config", "Tessera"));
    expect(defaultProfile("linux", { XDG_CONFIG_HOME: "/c" }, "/home/a")).toBe(path.join("/c", "Tessera"));
    expect(defaultProfile("darwin", {}, "/Users/a")).toBe(
      path.join("/Users/a", "Library", "Application Support", "Tessera"),
    );
    expect(defaultProfile("win32", { APPDATA: "/r" }, "/u")).toBe(path.join("/r", "Tessera"));
    expect(parseDoorArguments([], "/x").profile).toMatch(/Tessera$/);
  });

  test("a passphrase is the first line of its file, and an empty one is none", () => {
    const passphrase = path.join(folder, "passphrase");
    writeFileSync(passphrase, "first line \r\nsecond");
    expect(readPassphraseFile(passphrase)).toBe("first line ");
    writeFileSync(passphrase, "\nsecond");
    expect(() => readPassphraseFile(passphrase)).toThrow(/empty/);
    expect(() => readPassphraseFile(path.join(folder, "none"))).toThrow(/cannot be read/);
  });
});

test("no address, however written, leads out of the window's folder", async () => {
  writeFileSync(path.join(folder, "in.js"), "in");
  const inside = path.join(folder, "inside");
  const parts = fc.constantFrom(
    "..",
    "%2e%2e",
    ".",
    "/",
    "\\",
    "%2f",
    "%5c",
    "in.js",
    "%00",
    "a",
    "é",
    "%",
    ":",
    "C:",
    "in.js/",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(parts, { maxLength: 8 }), async (all) => {
      expect(await readWindowFile(inside, `/${all.join("")}`)).toBeUndefined();
    }),
    { seed: 3, numRuns: 1000 },
  );
  expect((await readWindowFile(folder, "/in.js"))?.body.toString()).toBe("in");
});

test("the stand-in for Electron throws on whatever it does not have", async () => {
  const standIn = await import("../electron/stand-in.ts");
  for (const [object, name] of [
    [standIn.app, "setLoginItemSettings"],
    [standIn.ipcMain, "on"],
    [standIn.session.defaultSession, "clearCache"],
    [standIn.dialog, "showMessageBox"],
  ] as const)
    expect(() => void Reflect.get(object, name)).toThrow(name);
  const wrong = { webPreferences: { preload: "p", sandbox: true, contextIsolation: true, nodeIntegration: true } };
  expect(() => void Reflect.construct(standIn.BrowserWindow, [wrong])).toThrow(/isolated/);
});
