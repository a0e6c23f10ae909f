import type { invitesCommands } from "../../../../preload/contract/invites.ts";
import type { Handlers } from "../../../../preload/contract/index.ts";
import { CoreError } from "../../errors.ts";
import type { RoomStore } from "../../storage/room-store.ts";
import type { createAdmissions } from "./admissions.ts";
import { inspect } from "./inspect.ts";
import { mayInvite } from "./invite-rooms.ts";
import type { createJoins } from "./joins.ts";
import type { Tokens } from "./tokens.ts";

type Parts = {
  me: string;
  rooms: RoomStore;
  tokens: Tokens;
  joins: Pick<ReturnType<typeof createJoins>, "accept" | "list" | "cancel" | "contactOnly">;
  admissions: Pick<ReturnType<typeof createAdmissions>, "answer" | "requests">;
  nowMs: () => number;
};

export const createInvitesHandlers = ({
  me,
  rooms,
  tokens,
  joins,
  admissions,
  nowMs,
}: Parts): Handlers<keyof typeof invitesCommands> => ({
  "invites.create": (wanted) => {
    const { kind, roomId, preset, label } = wanted;
    if (kind === "group" && roomId !== undefined) {
      if (rooms.room(roomId)?.membership !== "join") throw new CoreError("not-found", { message: "No such room." });
      // and once more when somebody proves to hold the code
      if (!mayInvite(rooms, roomId, me))
        throw new CoreError("forbidden", { message: "You may not invite people to this room." });
    }
    return tokens.create({
      kind,
      preset,
      ...(roomId === undefined ? {} : { roomId }),
      ...(label === undefined ? {} : { label }),
    });
  },
  "invites.list": () => tokens.list(),
  "invites.knownBy": ({ deviceIds }) => tokens.knownBy(deviceIds),
  "invites.withdraw": ({ tokenId }) => tokens.withdraw(tokenId),
  "invites.revive": ({ tokenId }) => tokens.revive(tokenId),
  "invites.show": ({ tokenId }) => ({ link: tokens.show(tokenId) }),
  "invites.keepOpen": ({ tokenId }) => tokens.keepOpen(tokenId),
  "invites.inspect": (code) =>
    inspect("text" in code ? code : { bytes: Buffer.from(code.bytes, "base64") }, me, nowMs()),
  "invites.accept": ({ text, acceptIdentityChange = false }) => joins.accept({ text, acceptIdentityChange }),
  "invites.joins": () => joins.list(),
  "invites.cancel": ({ joinId }) => {
    joins.cancel(joinId);
    return {};
  },
  "invites.contactOnly": async ({ joinId }) => {
    await joins.contactOnly(joinId);
    return {};
  },
  "invites.requests": () => admissions.requests(),
  "invites.answer": ({ requestId, gave }) => {
    admissions.answer({ requestId, gave });
    return {};
  },
  "invites.alarms": () => tokens.alarms(),
  "invites.putAway": ({ alarmId }) => {
    tokens.putAway(alarmId);
    return {};
  },
});
