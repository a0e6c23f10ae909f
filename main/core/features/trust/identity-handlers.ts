import type { Emit, Handlers } from "../../../../preload/contract/index.ts";
import { toFailure } from "../../errors.ts";
import type { Feature } from "../../feature.ts";
import { createTurns } from "../../in-turn.ts";
import { log } from "../../log.ts";
import type { Crypto } from "../../matrix/crypto.ts";
import type { Http } from "../../matrix/http.ts";
import { createSecretStorage, defaultKeyType, secretNames } from "../../matrix/secret-storage.ts";
import type { IdentityStore, RecoveryNote } from "../../storage/identity-store.ts";
import type { RescuedSecretsStore } from "../../storage/rescued-secrets.ts";
import { checkRecovery } from "./check-recovery.ts";
import type { OwnAccount } from "./own-account.ts";
import { recover, useRescued, wayOf } from "./recover.ts";
import { practiceOf } from "./practice.ts";
import { repair } from "./repair.ts";
import { reset } from "./reset.ts";
import { setUp } from "./set-up.ts";
import { createStatus } from "./status.ts";

type Names =
  | "trust.setUp"
  | "trust.recover"
  | "trust.status"
  | "trust.reset"
  | "trust.repair"
  | "trust.practice"
  | "trust.checkRecovery";
type Parts = {
  me: string;
  http: Http;
  store: IdentityStore;
  crypto: () => Promise<Crypto>;
  emit: Emit;
  nowMs: () => number;
  /** The account's backup, or this device's key of it, may be another one now. */
  backupChanged: () => void;
  /** What the device before left, whose store was damaged. */
  rescued: RescuedSecretsStore;
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
  const turns = createTurns();

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
  let rescuedWait = parts.rescued.names().length > 0;
  /** They are the account's or nobody's: once the server was asked, they are not kept twice. */
  const takeRescued = async (): Promise<void> => {
    if (!rescuedWait) return;
    rescuedWait = false;
    try {
      const taken = await inTurn((own) => useRescued(own, parts.rescued.all()));
      parts.rescued.clear();
      log.info(taken ? "this device took up what was rescued" : "what was rescued is no longer the account's");
    } catch (error) {
      rescuedWait = true;
      log.info(`what was rescued waits: ${toFailure(error).code}`);
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
    return turns(run);
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

  const noted = <T>(kind: RecoveryNote, answer: T): T => {
    store.noteRecovery(kind, true, nowMs());
    return answer;
  };

  const handlers: Handlers<Names> = {
    "trust.setUp": (input) =>
      inTurn(async (own) => {
        const again = store.plan()?.done === true && forget !== undefined;
        if (again) store.dropPlan();
        return answered(noted("set-up", await setUp(own, store, input, nowMs)));
      }),
    "trust.reset": ({ password }) =>
      inTurn(async (own) => answered(noted("reset", await reset(own, store, password, nowMs)))),
    "trust.recover": (input) => {
      const way = wayOf(input);
      return inTurn(async (own) => noted("recover", await recover(own, store, way, nowMs)));
    },
    "trust.repair": (input) => {
      const way = input.recoveryKey === undefined && input.passphrase === undefined ? undefined : wayOf(input);
      return inTurn(async (own) => {
        const done = await repair(own, way);
        store.noteRecovery("repair", way !== undefined && done.left.length === 0, nowMs());
        return done;
      });
    },
    "trust.status": async () => await status.read(await account()),
    "trust.practice": async () => {
      const { recovery } = await status.read(await account());
      if (recovery === "ready" && store.lastGoodMs() === undefined) store.noteRecovery("seen", true, nowMs());
      return practiceOf(store.lastDrill(), recovery === "ready" ? store.lastGoodMs() : undefined, nowMs());
    },
    "trust.checkRecovery": async (input) => {
      const drilled = await checkRecovery(await account(), wayOf(input), parts.encryptedRooms());
      store.noteRecovery("drill", drilled.ok, nowMs());
      emit("trust.changed", { own: true });
      return drilled;
    },
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
        void takeRescued();
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
