import type { Handlers } from "../../../../preload/contract/index.ts";
import type { verificationCommands } from "../../../../preload/contract/verification.ts";
import { asCoreError, CoreError } from "../../errors.ts";
import type { Handle } from "../../matrix/verification.ts";
import { wrongTime, type Verification } from "./feature.ts";
import type { Entry } from "./flows.ts";
import { badCode, otherKeys, parseCode } from "./qr-code.ts";
import type { SendToRoom } from "./room-sender.ts";

type Names = keyof typeof verificationCommands;
type Parts = {
  me: string;
  deviceId: string;
  verification: Verification;
  /** The direct chat with a user, made where there is none. */
  directRoom: (userId: string) => Promise<string>;
  sendToRoom: SendToRoom;
  newTransactionId: () => string;
  nowMs: () => number;
};
const requestTries = 3;
const requestTimeoutMs = 60_000;

export function createVerificationHandlers(parts: Parts): Handlers<Names> {
  const { me, verification, nowMs } = parts;
  const { flows, machine, intake, outbox, advance } = verification;

  const openFlow = (flowId: string): Entry & { handle: Handle } => {
    const entry = flows.present(flowId);
    if (entry.handle === undefined || !flows.isOpen(entry)) throw wrongTime();
    return entry as Entry & { handle: Handle };
  };

  /** The other has asked already: asking means agreeing. All else that is open with them makes room. */
  const makeRoom = async (userId: string, deviceId?: string): Promise<string | undefined> => {
    for (const entry of flows.open().filter(({ flow }) => flow.userId === userId)) {
      const { mine, state, flowId } = entry.flow;
      const asked = !mine && state.at === "requested" && (deviceId === undefined || entry.flow.deviceId === deviceId);
      if (asked) {
        await verification.accept(entry);
        return flowId;
      }
      await verification.cancel(entry, "m.user");
    }
    await (await machine()).forgetEnded();
    return undefined;
  };

  const requestUser = async (userId: string): Promise<string> => {
    const core = await machine();
    const content = await core.requestContent(userId);
    const roomId = await parts.directRoom(userId);
    const message = { type: "m.room.message", content, transactionId: parts.newTransactionId() };
    const eventId = await untilSent(() => parts.sendToRoom({ roomId, userId }, message));
    flows.add(await core.requested(userId, roomId, eventId), { mine: true, requestedAtMs: nowMs() });
    return eventId;
  };
  /** An answer that got lost leaves the other with a request that nobody here knows: the same transaction is sent again. */
  const untilSent = async (send: () => Promise<string>): Promise<string> => {
    for (let tries = 1; ; tries++)
      try {
        return await send();
      } catch (error) {
        if (!asCoreError(error).retryable || tries === requestTries) throw error;
      }
  };

  const requestOwn = async (deviceId: string | undefined): Promise<string> => {
    const { handle, message } = await (await machine()).requestOwn(deviceId);
    flows.add(handle, { mine: true, requestedAtMs: nowMs() });
    await outbox.put([message]);
    return handle.flowId;
  };

  return {
    "verification.request": async ({ userId, deviceId }) => {
      if (userId !== me && deviceId !== undefined)
        throw new CoreError("bad-request", {
          details: { path: "deviceId" },
          message: "Another user is verified as a whole, not by device.",
        });
      if (userId === me && deviceId === parts.deviceId)
        throw new CoreError("bad-request", { details: { path: "deviceId" }, message: "That is this device." });
      const flowId = await within(
        requestTimeoutMs,
        intake.inTurn(
          async () =>
            (await makeRoom(userId, deviceId)) ??
            (userId === me ? await requestOwn(deviceId) : await requestUser(userId)),
        ),
      );
      await advance();
      return { flowId };
    },

    "verification.accept": async ({ flowId }) => {
      const entry = openFlow(flowId);
      if (entry.flow.mine || entry.flow.state.at !== "requested") throw wrongTime();
      await verification.accept(entry);
      await advance();
      return {};
    },

    "verification.cancel": async ({ flowId }) => {
      const entry = flows.present(flowId);
      // cancelling what is over is no error: the other side may have been a moment faster
      if (flows.isOpen(entry)) await verification.cancel(entry, "m.user");
      return {};
    },

    "verification.start": async ({ flowId }) => {
      const entry = openFlow(flowId);
      // the other side may have started in the same moment
      if (entry.handle.look().chosen?.kind === "emoji") return {};
      if (entry.flow.state.at !== "ready") throw wrongTime();
      if (!entry.flow.methods.includes("emoji"))
        throw new CoreError("unsupported", { message: "The other device cannot compare emoji." });
      const messages = await entry.handle.startEmoji();
      if (messages.length === 0) throw wrongTime();
      await outbox.put(messages);
      await advance();
      return {};
    },

    "verification.showQr": async ({ flowId }) => {
      const entry = openFlow(flowId);
      if (entry.flow.state.at !== "ready") throw wrongTime();
      const bytes = entry.flow.methods.includes("qr-show") ? await entry.handle.showCode() : undefined;
      if (bytes === undefined)
        throw new CoreError("unsupported", { message: "There is no code that the other device could scan." });
      return { bytes: Buffer.from(bytes).toString("base64").replace(/=+$/, "") };
    },

    "verification.scanQr": async ({ flowId, bytes }) => {
      const raw = Buffer.from(bytes, "base64");
      const code = parseCode(raw);
      if (flowId !== undefined && code.flowId !== flowId) {
        flows.present(flowId);
        throw badCode("other-flow");
      }
      if (flows.find(code.flowId) === undefined) throw badCode("other-flow");
      const entry = openFlow(code.flowId);
      if ((code.mode === 0) !== (entry.flow.userId !== me)) throw badCode("wrong-mode");
      if (entry.flow.state.at !== "ready") throw badCode("wrong-time");
      // what is wrong with the code changes nothing about the flow: another one can be scanned
      const messages = await entry.handle.scan(raw).catch((error: unknown) => {
        throw otherKeys(error);
      });
      entry.agreed = true;
      await outbox.put(messages);
      await intake.release(entry);
      await advance();
      return {};
    },

    "verification.confirm": async ({ flowId, same }) => {
      const entry = openFlow(flowId);
      verification.look(entry);
      const { at } = entry.flow.state;
      if (at !== "comparing" && at !== "qr-scanned") throw wrongTime();
      if (!same) {
        await verification.cancel(entry, at === "comparing" ? "m.mismatched_sas" : "m.user");
        return {};
      }
      entry.agreed = true;
      if (at === "comparing") {
        const { messages, signed } = await entry.handle.confirmEmoji();
        if (signed !== undefined) verification.signed(entry, signed);
        await outbox.put(messages);
      } else await outbox.put(entry.handle.confirmScanned());
      await intake.release(entry);
      await advance();
      return {};
    },

    "verification.list": () => flows.list(),
  };
}

/** Whoever asks is not kept waiting for a server that is away; what was begun goes on. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new CoreError("timeout"));
    }, ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
