import type { UserTrust } from "../../../../preload/contract/rooms.ts";
import type { SendTo, WithheldReason } from "../../../../preload/contract/trust.ts";
import type { KnownDevice, KnownUser, Mark } from "../../matrix/device-list.ts";
import type { Strategy } from "../../matrix/recipients.ts";

/** Everything that decides who can read the next message of a room. */
export type PlanInput = {
  me: string;
  /** The device that this app is: it needs no key from itself. */
  current: string;
  effective: SendTo;
  users: KnownUser[];
  isBlocked: (userId: string, deviceId: string) => boolean;
  /** The person's standing, as the pins say it. */
  standing: (user: KnownUser) => UserTrust["identity"];
  /** People to whom nothing is sent, whatever policy says. */
  isSendBlocked: (userId: string) => boolean;
};
type Refusal = { code: "identity-changed" | "recipients-blocked"; userIds: string[] };
export type Plan = {
  allowed: KnownDevice[];
  withheld: { device: KnownDevice; reason: WithheldReason }[];
  /** Why nothing is sent at all. */
  refusal?: Refusal;
  strategy: Strategy;
  marks: { userId: string; deviceId: string; mark: Mark }[];
};

/** Who gets the next message's key, who does not and why, and how Rust crypto is brought to do just that. Pure. */
export function planFor(input: PlanInput): Plan {
  const { users, me, effective } = input;
  const allowed: KnownDevice[] = [];
  const withheld: Plan["withheld"] = [];
  const changed: string[] = [];
  const barred: string[] = [];
  let anyBlocked = false;
  for (const user of users) {
    const identity = input.standing(user);
    const stops =
      (identity === "verification-violated" && (user.userId !== me || effective !== "everyone")) ||
      (identity === "changed" && effective === "verified-users");
    if (stops) changed.push(user.userId);
    const isBarred = input.isSendBlocked(user.userId);
    if (isBarred) barred.push(user.userId);
    for (const device of user.devices) {
      if (user.userId === me && device.deviceId === input.current) continue;
      const isBlocked = input.isBlocked(user.userId, device.deviceId);
      anyBlocked ||= isBlocked;
      const reason =
        isBlocked || isBarred ? "blocked" : stops ? "identity-changed" : reasonAgainst(device, identity, input);
      if (reason === undefined) allowed.push(device);
      else withheld.push({ device, reason });
    }
  }
  const strategy: Strategy =
    effective === "everyone" ? "all" : effective === "signed-devices" && !anyBlocked ? "signed" : "marked";
  const refusal: Refusal | undefined =
    barred.length > 0
      ? { code: "recipients-blocked", userIds: barred }
      : changed.length > 0
        ? { code: "identity-changed", userIds: changed }
        : undefined;
  return {
    allowed,
    withheld,
    ...(refusal === undefined ? {} : { refusal }),
    strategy,
    marks: marksFor(strategy, allowed, withheld, users),
  };
}

function reasonAgainst(
  device: KnownDevice,
  identity: UserTrust["identity"],
  { effective, me }: PlanInput,
): WithheldReason | undefined {
  if (effective === "everyone")
    // whoever can put a device on a server could put a dehydrated one there: Rust crypto wants those signed in any case
    return device.dehydrated && !device.signedByOwner ? "unsigned-device" : undefined;
  if (effective === "verified-users" && device.userId !== me && identity !== "verified") return "unverified-user";
  return device.signedByOwner ? undefined : "unsigned-device";
}

/** Only what differs: each mark is a write. Under `signed` Rust crypto looks at no mark. */
function marksFor(
  strategy: Strategy,
  allowed: KnownDevice[],
  withheld: Plan["withheld"],
  users: KnownUser[],
): Plan["marks"] {
  if (strategy === "signed") return [];
  const verified = new Set(users.filter((user) => user.identity?.verified === true).map((user) => user.userId));
  const wanted = [
    ...allowed.map((device) => ({ device, mark: allowedMark(strategy, device, verified.has(device.userId)) })),
    ...withheld.map(({ device, reason }) => ({
      device,
      mark: withheldMark(device, reason, verified.has(device.userId)),
    })),
  ];
  return wanted
    .filter(({ device, mark }) => mark !== device.mark)
    .map(({ device, mark }) => ({ userId: device.userId, deviceId: device.deviceId, mark }));
}

function allowedMark(strategy: Strategy, device: KnownDevice, verified: boolean): Mark {
  if (strategy === "all") return device.mark === "blocked" ? "none" : device.mark;
  if (device.mark === "verified" || device.mark === "allowed") return device.mark;
  // of a verified person Rust crypto takes the signed devices by itself
  return verified ? "none" : "allowed";
}

function withheldMark(device: KnownDevice, reason: WithheldReason, verified: boolean): Mark {
  if (reason === "blocked") return "blocked";
  // verified on the server and taken back here: Rust crypto knows of the former alone
  return device.signedByOwner && verified ? "blocked" : "none";
}
