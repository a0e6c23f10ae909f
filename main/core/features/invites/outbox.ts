import type { CoreError } from "../../errors.ts";
import type { Json } from "../../json.ts";

type Common = {
  /** The transaction id too, so at most 64 characters of A-Z a-z 0-9 . _ -. The same id is taken once in a day, whatever happens between. */
  id: string;
  type: string;
  userId: string;
  content: Json;
  /** REPLY's jitter. */
  notBeforeMs?: number;
  /** Not worth sending after this; a week where it is left out. */
  expiresAtMs?: number;
};
export type Parcel =
  /** `deviceId` may be `*`. */
  | (Common & { kind: "plain"; deviceId: string })
  /**
   * Encrypted once, by Olm, for a device that is signed by its owner when it is encrypted; sent under the same transaction id until the
   * server took it. `curve25519`: only for this very key (unpadded base64).
   */
  | (Common & { kind: "olm"; deviceId: string; curve25519?: string });

/** `unreachable-device`: no session could be begun with it. `not-signed`: it is unknown, unsigned, or has another key than the wanted one. */
export type Fate = "sent" | "expired" | "not-signed" | "unreachable-device" | CoreError["code"];

/** To-device messages that outlive the process: in account.db before `put` returns, in order for each recipient. */
export type Outbox = {
  /** Joins the caller's transaction; goes out when that has committed. False where this id was put before. */
  put: (parcel: Parcel) => boolean;
  /** Nothing more is sent of these ids. */
  drop: (ids: string[]) => void;
  isWaiting: (id: string) => boolean;
  /** A parcel has come to its end. What the network fails is tried again and not told. Returns its remover. */
  onFate: (listener: (id: string, fate: Fate) => void) => () => void;
};
