import type { Json } from "../../json.ts";
import type { OwnStanding, Peer } from "../../matrix/peer-devices.ts";
import type { ConfirmResult } from "./inviter.ts";

/** What the handshake asks of crypto. */
export type PeerPort = {
  /** What this device is to its account; from memory until something of it changes. */
  standing: () => Promise<OwnStanding>;
  /** Asks their server now. Throws `CoreError`. */
  fresh: (userId: string) => Promise<Peer & { masterKey: string }>;
  /** Asks nobody. */
  known: (userId: string) => Promise<Peer>;
  /** `userSign` (matrix/user-signing.ts) and what follows from it here. Throws `CoreError`. */
  sign: (userId: string, masterKey: string) => Promise<void>;
};

/** What it asks of rooms. All of it may be asked again after a crash. */
export type RoomPort = {
  /** The encrypted direct chat with them that is there already. */
  findChat: (userId: string) => string | undefined;
  /** One that an earlier, interrupted try made. Throws where the server has not said yet which rooms there are. */
  adoptChat: (userId: string) => Promise<string | undefined>;
  createChat: (userId: string) => Promise<string>;
  /** Joins the chat that the joiner invited to, where nothing speaks against it; `joining` is called before anything leaves. */
  enterChat: (
    roomId: string,
    userId: string,
    entering: boolean,
    joining: () => void,
  ) => Promise<"in" | "not-yet" | "refused">;
  invite: (roomId: string, userId: string) => Promise<{ result: ConfirmResult; room: string; via: string[] }>;
  /** Joins a room to which `inviter` invited us. */
  enterGroup: (roomId: string, inviter: string, via: string[]) => Promise<"in" | "not-yet">;
  knock: (roomId: string, via: string[]) => Promise<"in" | "asked" | "refused">;
  isIn: (roomId: string) => boolean;
  /** Of two chats that two people made by scanning each other, one is left. */
  tidy: (userId: string) => Promise<void>;
};

/** What it asks of who is trusted. */
export type TrustPort = {
  ignored: (userId: string) => boolean;
  /** The master key as which they are verified here, unpadded base64. */
  verifiedKey: (userId: string) => string | undefined;
  /** The last one they were ever verified with here, whatever they have now. */
  onceVerifiedKey: (userId: string) => string | undefined;
  blockSending: (userId: string) => void;
};

/** A handshake message as it waits in the inbox. */
export type Received = {
  type: string;
  sender: string;
  content: Json;
  olm?: { sender: string; curve25519: string };
};
/** `later`: it could not be judged now, for no reason of its own. */
export type Judged = "done" | "later";
