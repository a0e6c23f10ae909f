import type * as v from "valibot";
import { accountCommands, accountCoreCommands, type AccountEvents } from "./account.ts";
import { appCommands, type AppEvents } from "./app.ts";
import { backupCommands, type BackupEvents } from "./backup.ts";
import { deviceKeysCommands, type DeviceKeysEvents } from "./device-keys.ts";
import { devicesCommands, type DevicesEvents } from "./devices.ts";
import { fileCommands } from "./file.ts";
import { invitesCommands, type InvitesEvents } from "./invites.ts";
import { roomsCommands, type RoomsEvents } from "./rooms.ts";
import { timelineCommands, type TimelineEvents } from "./timeline.ts";
import { trustCommands, type TrustEvents } from "./trust.ts";
import { vaultCommands, type VaultEvents } from "./vault.ts";
import { verificationCommands, type VerificationEvents } from "./verification.ts";

/** Answered by the host; all others by the core of the account. */
export const hostCommands = { ...accountCommands, ...appCommands, ...fileCommands, ...vaultCommands };
export const coreCommands = {
  ...accountCoreCommands,
  ...backupCommands,
  ...deviceKeysCommands,
  ...devicesCommands,
  ...invitesCommands,
  ...roomsCommands,
  ...timelineCommands,
  ...trustCommands,
  ...verificationCommands,
};
export const commands = { ...hostCommands, ...coreCommands };

type Table = typeof commands;
export type CommandName = keyof Table;
export type HostCommandName = keyof typeof hostCommands;
export type CoreCommandName = keyof typeof coreCommands;
/** What a caller writes. */
export type Input<N extends CommandName> = v.InferInput<Table[N]["input"]>;
/** What a handler receives: the same after defaults and trims. */
export type Parsed<N extends CommandName> = v.InferOutput<Table[N]["input"]>;
export type Output<N extends CommandName> = Table[N] extends { readonly output?: infer O }
  ? Exclude<O, undefined>
  : never;

/** One handler a command: a missing or mistyped one does not compile. Features export `Pick`s of it. */
export type Handlers<N extends CommandName> = { [K in N]: (input: Parsed<K>) => Promise<Output<K>> | Output<K> };

export type Events = AccountEvents &
  AppEvents &
  BackupEvents &
  DeviceKeysEvents &
  DevicesEvents &
  InvitesEvents &
  RoomsEvents &
  TimelineEvents &
  TrustEvents &
  VaultEvents &
  VerificationEvents;
export type EventName = keyof Events;
export type Emit = <N extends EventName>(event: N, payload: Events[N]) => void;
