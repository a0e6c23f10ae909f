import type { invitesCommands } from "../../../../preload/contract/invites.ts";
import type { Handlers } from "../../../../preload/contract/index.ts";
import { inspect } from "./inspect.ts";

type Parts = { me: string; nowMs: () => number };

export const createInvitesHandlers = ({ me, nowMs }: Parts): Handlers<keyof typeof invitesCommands> => ({
  "invites.inspect": (code) =>
    inspect("text" in code ? code : { bytes: Buffer.from(code.bytes, "base64") }, me, nowMs()),
});
