import path from "node:path";
import type { Door } from "../../preload/contract/app.ts";
import type { EventMessage } from "../../preload/contract/define.ts";
import {
  coreCommands,
  hostCommands,
  type HostCommandName,
  type Output,
  type Parsed,
} from "../../preload/contract/index.ts";
import type { VaultStatus } from "../../preload/contract/vault.ts";
import type { ProxySettings } from "../core/worker-port.ts";
import { createAccounts } from "./accounts.ts";
import { createCoreHost } from "./core-host.ts";
import { createGrants } from "./grants.ts";
import { failureOf, HostError } from "./host-error.ts";
import { createIdleLock } from "./idle-lock.ts";
import { openKeychain, type Keychain } from "./keychain.ts";
import type { StartHelper } from "./helper-process.ts";
import { openLog, type Log } from "./log.ts";
import { openPreferences } from "./preferences.ts";
import { openProfile, unusable, type Profile } from "./profile.ts";
import { createOpenedLinks } from "./opened-links.ts";
import { proxyFromEnvironment } from "./proxy-settings.ts";
import { createRouter, type Call, type Router } from "./router.ts";
import { saveFile } from "./save-file.ts";
import { hasTwin } from "./twin-file.ts";
import { openVault } from "./vault.ts";

export type HostOptions = {
  /** The profile's folder; made where it is missing. */
  profile: string;
  door: Door;
  version: string;
  workerUrl: URL;
  /** Starts the process that holds keytar; or a keychain of the caller's own. */
  keychain: { startHelper: StartHelper } | Keychain;
  /** Opens the vault by its passphrase slot, and makes a new profile with that alone. */
  passphrase?: string | undefined;
  /** Gets each line of the log too. */
  copyLogTo?: ((line: string) => void) | undefined;
  /** The person's choice in the door's own dialog; null where they chose nothing. Absent: the door has no dialog. */
  chooseFile?: ((input: Parsed<"file.choose">) => Promise<{ path: string; sizeBytes?: number } | null>) | undefined;
  /** Opens a checked address outside the app. Absent: the door cannot. */
  openExternal?: ((url: string) => Promise<void>) | undefined;
  /** Without it: from the environment. */
  proxy?: ProxySettings | undefined;
  /** Relative paths of a door that takes paths start here. */
  callersFolder?: string | undefined;
  electronVersion?: string | undefined;
};

export type Host = Router & {
  /** What `vault.status` would have said at the very start. */
  readonly vaultAtStart: VaultStatus["at"];
  vaultStatus: () => VaultStatus;
  /** Resolves once the vault is open, refused, or waits for a person. */
  settled: () => Promise<void>;
  /** Events of all accounts; the answer ends it. */
  on: (listener: (event: EventMessage) => void) => () => void;
  /** What the system was asked to open with this app; anything but a Matrix link is ignored. */
  openLink: (text: string) => void;
  readonly log: Log;
  /** Orderly where the cores manage it within `withinMs` (1.5 s); the profile is free for another process afterwards. */
  stop: (withinMs?: number) => Promise<void>;
};

/** A missing or mistyped handler does not compile. */
type HostHandlers = { [N in HostCommandName]: (input: Parsed<N>, call: Call) => Promise<Output<N>> | Output<N> };

/** What the three doors share. Throws {@link HostError}: `conflict`, `forbidden`, `disk-full`. */
export async function startHost(options: HostOptions): Promise<Host> {
  // what the core and the libraries write is for this person alone, too
  process.umask(0o077);
  const profile = await openProfile(options.profile);
  try {
    return assemble(options, profile);
  } catch (error) {
    await profile.release();
    throw failureOf(error) === undefined ? unusable(error) : error;
  }
}

function assemble(options: HostOptions, profile: Profile): Host {
  const log = openLog(profile.folder, options.copyLogTo);
  log.write("info", `tessera ${options.version} ${options.door} node ${process.versions.node} ${process.platform}`);

  const listeners = new Set<(event: EventMessage) => void>();
  const emit = (event: EventMessage) => {
    for (const listener of listeners) listener(event);
  };
  const accountsFolder = path.join(profile.folder, "accounts");
  const core = createCoreHost({
    workerUrl: options.workerUrl,
    proxy: options.proxy ?? proxyFromEnvironment(process.env),
    log,
    emit,
    accountsFolder,
    fileKey: (folder, file) => vault.fileKey(folder, file),
  });
  const accounts = createAccounts({ profile: profile.folder, accountsFolder, core, vault: () => vault, log, emit });
  const vault = openVault({
    folder: profile.folder,
    keychain: "startHelper" in options.keychain ? openKeychain(options.keychain.startHelper) : options.keychain,
    passphrase: options.passphrase,
    log,
    onChange: ({ at }) => {
      emit({ event: "vault.changed", payload: { at } });
    },
    onOpen: () => {
      accounts.load();
      accounts.startAll();
    },
    onLock: async () => {
      await core.stopAll();
      accounts.forget();
    },
  });
  const vaultAtStart = vault.status().at;
  if (vaultAtStart === "locked" && hasTwin(path.join(profile.folder, "accounts.sealed"))) {
    core.warmUp();
    void vault.settled().then(core.coolDown);
  }
  const preferences = openPreferences(profile.folder);
  const grants = createGrants();
  // a program without a window has nobody who could come back to it
  const idleLock =
    options.door === "headless"
      ? undefined
      : createIdleLock({
          minutes: () => preferences.change({}).lockAfterMinutes,
          isOpen: () => vault.status().at === "ready",
          lock: () => vault.lock(),
          log,
        });
  const links = createOpenedLinks(() => {
    emit({ event: "app.linkWaiting", payload: {} });
  });

  const handlers: HostHandlers = {
    "account.discover": (input) => accounts.discover(input),
    "account.register": (input) => accounts.register(input),
    "account.login": (input) => accounts.login(input),
    "account.list": () => accounts.list(),
    "account.status": (_input, { account }) => accounts.status(account),
    "account.logout": (input, { account }) => {
      if (account === undefined) throw new HostError("not-signed-in");
      return accounts.logout(account, input.force ?? false);
    },
    "account.renew": (input, { account }) => {
      if (account === undefined) throw new HostError("not-signed-in");
      return accounts.renew(account, input);
    },
    "account.rescue": (input, { account }) => {
      if (account === undefined) throw new HostError("not-signed-in");
      return accounts.rescue(account, input);
    },
    "app.info": () => ({
      version: options.version,
      protocol: 1,
      door: options.door,
      platform: process.platform,
      node: process.versions.node,
      ...(options.electronVersion === undefined ? {} : { electron: options.electronVersion }),
    }),
    "app.preferences": (input) => preferences.change(input),
    "app.active": () => {
      idleLock?.active();
      return {};
    },
    "app.openLink": async ({ url }) => {
      if (options.openExternal === undefined) throw new HostError("unsupported");
      await options.openExternal(checkedLink(url));
      return {};
    },
    "app.takeLink": () => links.take(),
    "file.choose": async (input, call) => {
      if (options.chooseFile === undefined || !call.caller.isWindow) throw new HostError("unsupported");
      const chosen = await options.chooseFile(input);
      if (chosen === null) return null;
      const { path: file, ...size } = chosen;
      return { path: grants.give(file, input.purpose), name: path.basename(file), ...size };
    },
    "file.save": async (input, call) => {
      // whoever may name paths has better means
      if (!call.caller.isWindow) throw new HostError("unsupported");
      const bytes = Buffer.from(input.base64, "base64");
      await saveFile(input.path, bytes);
      return { sizeBytes: bytes.length };
    },
    "vault.status": async () => {
      await vault.settled();
      return vault.status();
    },
    "vault.unlock": async ({ passphrase }) => {
      await vault.unlock(passphrase);
      return {};
    },
    "vault.setPassphrase": async ({ passphrase, current }) => {
      await vault.setPassphrase(passphrase, current);
      return {};
    },
    "vault.retryKeychain": async () => ({ at: await vault.retryKeychain() }),
    "vault.lock": async () => {
      await vault.lock();
      return {};
    },
  };

  const router = createRouter({
    hostCommands,
    coreCommands,
    // the router has parsed the input with the schema of this very name
    host: async (name, input, call) => handlers[name as HostCommandName](input as never, call),
    core: (name, input, userId) => core.call(userId, name, input),
    vaultOpen: async () => {
      await vault.settled();
      vault.requireOpen();
    },
    userIds: () => accounts.userIds(),
    grants,
    log,
    resolvePath: (file) => path.resolve(options.callersFolder ?? process.cwd(), file),
  });

  let stopping: Promise<void> | undefined;
  return {
    ...router,
    vaultAtStart,
    vaultStatus: () => vault.status(),
    settled: () => vault.settled(),
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    openLink: links.put,
    log,
    stop: (withinMs) =>
      (stopping ??= (async () => {
        idleLock?.stop();
        await core.stopAll(withinMs);
        vault.stop();
        log.write("info", "stopped");
        log.close();
        await profile.release();
      })()),
  };
}

/** `https:`, `http:` and `mailto:` alone, as the address parser and not as the eye reads it. */
function checkedLink(link: string): string {
  const url = URL.parse(link);
  if (url === null || !["https:", "http:", "mailto:"].includes(url.protocol))
    throw new HostError("bad-request", { details: { path: "url" } });
  return url.href;
}
