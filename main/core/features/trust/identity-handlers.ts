import type { Emit, Handlers } from "../../../../preload/contract/index.ts";
import { toFailure } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import { log } from "../../log.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import { createSecretStorage, defaultKeyType, secretNames } from "../../matrix/secret-storage.ts";
import type { IdentityStore } from "../../storage/identity-store.ts";
import { checkRecovery } from "./check-recovery.ts";
import type { OwnAccount } from "./own-account.ts";
import { recover, wayOf } from "./recover.ts";
import { reset } from "./reset.ts";
import { setUp } from "./set-up.ts";
import { createStatus } from "./status.ts";

type Names = "trust.setUp" | "trust.recover" | "trust.status" | "trust.reset" | "trust.checkRecovery";
type Parts = {
  me: string;
  http: Http;
  store: IdentityStore;
  crypto: () => Promise<Crypto>;
  emit: Emit;
  nowMs: () => number;
  /** The account's backup, or this device's key of it, may be another one now. */
  backupChanged: () => void;
  /** Encrypted rooms, the latest first: where a sample of the backup is taken from. */
  encryptedRooms: () => string[];
};

/** An answer is on its way out for less than this; a run that ends within it left a key that nobody saw. */
const answerGoesOutMs = 500;
const accountDataOfOurs: ReadonlySet<string> = new Set([defaultKeyType, ...Object.values(secretNames)]);

export function createIdentityHandlers(parts: Parts): { handlers: Handlers<Names>; feature: Feature } {
  const { me, http, store, emit, nowMs } = parts;
  const storage = createSecretStorage(http, me);
  const status = createStatus(store, nowMs, () => forget !== undefined);
  let opened: { crypto: Crypto; account: Promise<OwnAccount> } | undefined;
  let forget: NodeJS.Timeout | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  const openAccount = async (crypto: Crypto): Promise<OwnAccount> => {
    // both load Rust crypto's wasm, which a start is not to wait for
    const [identity, backup] = await Promise.all([
      import("../../matrix/identity.ts"),
      import("../../matrix/backup-version.ts"),
    ]);
    return {
      crypto,
      storage,
      identity: identity.createIdentity(crypto),
      backup: backup.createBackupVersions(crypto),
    };
  };
  const account = async (): Promise<OwnAccount> => {
    const crypto = await parts.crypto();
    if (opened?.crypto !== crypto) opened = { crypto, account: openAccount(crypto) };
    return await opened.account;
  };

  const changed = () => {
    status.changed();
    emit("trust.changed", { own: true });
  };
  let secretsWait = true;
  /** A backup key that another verified device handed over; what comes while the server is away waits for the next sync. */
  const takeSecrets = async (): Promise<void> => {
    if (!secretsWait) return;
    secretsWait = false;
    try {
      const own = await account();
      const { takeBackupKey } = await import("../../matrix/received-secrets.ts");
      if (!(await takeBackupKey(own.crypto, own.backup))) return;
      changed();
      parts.backupChanged();
    } catch (error) {
      secretsWait = true;
      log.info(`a received secret waits: ${toFailure(error).code}`);
    }
  };
  /** One at a time: two set-ups at once would each make an identity. */
  const inTurn = <T>(work: (account: OwnAccount) => Promise<T>): Promise<T> => {
    const run = async () => {
      try {
        return await work(await account());
      } finally {
        changed();
        parts.backupChanged();
      }
    };
    const mine = turn.then(run, run);
    turn = mine.catch(() => undefined);
    return mine;
  };
  /** The plan, and with it the recovery key, goes once the answer that carries the key is out. */
  const answered = <T>(answer: T): T => {
    clearTimeout(forget);
    forget = setTimeout(forgetPlan, answerGoesOutMs);
    return answer;
  };
  const forgetPlan = () => {
    if (store.plan()?.done !== true) return;
    store.dropPlan();
    changed();
  };

  const handlers: Handlers<Names> = {
    "trust.setUp": (input) =>
      inTurn(async (own) => {
        const again = store.plan()?.done === true && forget !== undefined;
        if (again) store.dropPlan();
        return answered(await setUp(own, store, input, nowMs));
      }),
    "trust.reset": ({ password }) => inTurn(async (own) => answered(await reset(own, store, password, nowMs))),
    "trust.recover": (input) => {
      const way = wayOf(input);
      return inTurn((own) => recover(own, store, way, nowMs));
    },
    "trust.status": async () => await status.read(await account()),
    "trust.checkRecovery": async (input) => await checkRecovery(await account(), wayOf(input), parts.encryptedRooms()),
  };

  return {
    handlers,
    feature: {
      cryptoStarted: async (crypto) => {
        const { onReceivedSecret } = await import("../../matrix/received-secrets.ts");
        onReceivedSecret(crypto, () => {
          secretsWait = true;
          void takeSecrets();
        });
        crypto.onIdentities((userIds) => {
          if (userIds.includes(me)) changed();
        });
        crypto.onDevices((userIds) => {
          if (userIds.includes(me)) changed();
        });
      },
      synced: (applied) => {
        void takeSecrets();
        if (
          [...applied.accountData].some((type) => accountDataOfOurs.has(type) || type.startsWith("m.secret_storage."))
        )
          changed();
      },
      stop: () => {
        if (forget !== undefined) {
          clearTimeout(forget);
          if (store.plan()?.done === true) store.dropPlan();
        }
      },
    },
  };
}
