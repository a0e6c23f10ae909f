import { mkdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { app, type BrowserWindow, dialog, session, shell } from "electron";
import type { DoorArguments } from "../host/door-arguments.ts";
import { type Host, startHost } from "../host/host.ts";
import { isMatrixLink } from "../host/opened-links.ts";
import { readPassphraseFile } from "../host/passphrase-file.ts";
import type { Places } from "../host/places.ts";
import { chooseFile } from "./dialogs.ts";
import { utilityHelper } from "./helper.ts";
import { joinWindowToHost } from "./ipc.ts";
import { setMenu } from "./menu.ts";
import { denyNavigation } from "./navigation.ts";
import { denyNetwork, denyPermissions } from "./permissions.ts";
import { registerScheme, serveRenderer } from "./protocol.ts";
import { quitInOrder } from "./quit.ts";
import { openWindow } from "./window.ts";

/** `distUrl`: the folder of the three bundles. Everything that must precede `ready` happens before this returns. */
export function startWindowed(args: DoorArguments, places: Places, distUrl: URL): void {
  const browserFolder = path.join(args.profile, "browser");
  mkdirSync(browserFolder, { recursive: true, mode: 0o700 });
  app.setPath("userData", browserFolder);
  // the lock lies in userData: one instance a profile
  if (!app.requestSingleInstanceLock()) {
    app.exit(0);
    return;
  }
  app.enableSandbox();
  registerScheme();
  denyNavigation();

  let window: BrowserWindow | undefined;
  app.on("second-instance", (_event, argv) => {
    openLinks(argv);
    if (window === undefined) return;
    if (window.isMinimized()) window.restore();
    window.show();
    window.focus();
  });

  // macOS names the link in an event, the others as an argument of a start of the app
  app.on("open-url", (event, url) => {
    event.preventDefault();
    openLinks([url]);
  });

  // for the system's own question which app opens such links, see electron-builder.yml; Windows must be told by the app
  if (app.isPackaged) app.setAsDefaultProtocolClient("tessera");

  const starting = start();
  openLinks(process.argv);
  quitInOrder(async () => {
    const host = await starting;
    await host?.stop();
  });

  /** Of the arguments, those that are whole Matrix links; the window asks for them. */
  function openLinks(argv: readonly string[]): void {
    const links = argv.filter(isMatrixLink);
    if (links.length === 0) return;
    void starting.then((host) => {
      for (const link of links) host?.openLink(link);
    });
  }

  async function start(): Promise<Host | undefined> {
    await app.whenReady();
    const { defaultSession } = session;
    denyPermissions(defaultSession, (contents) => contents !== null && contents === window?.webContents);
    denyNetwork(defaultSession);
    serveRenderer(defaultSession, fileURLToPath(new URL("renderer/", distUrl)));
    setMenu();
    // the window paints while the host opens its files: calls wait for it
    const hosting = openHost();
    joinWindowToHost(() => window, hosting);
    window = openWindow(fileURLToPath(new URL("preload/preload.cjs", distUrl)), args.profile);
    window.on("closed", () => {
      window = undefined;
    });
    try {
      return await hosting;
    } catch (error) {
      const reason = error instanceof Error ? error.message : "";
      dialog.showErrorBox("Tessera cannot start", reason);
      app.exit(1);
      return undefined;
    }
  }

  async function openHost(): Promise<Host> {
    const { profile, passphraseFile, verbose } = args;
    return startHost({
      profile,
      door: "electron",
      passphrase: passphraseFile === undefined ? undefined : readPassphraseFile(passphraseFile),
      copyLogTo: verbose ? (line) => void process.stderr.write(line) : undefined,
      version: places.version,
      electronVersion: process.versions.electron,
      workerUrl: places.workerUrl,
      keychain: { startHelper: utilityHelper(places.keychainUrl) },
      chooseFile: (request) => chooseFile(window, request),
      openExternal: (url) => shell.openExternal(url),
    });
  }
}
