/** How the backup stands, how its work goes and what did not come back, in words. */
import type { BackupStatus, Restored } from "../../../../preload/contract/backup.ts";
import type { Failure } from "../../../../preload/contract/define.ts";
import type { TrustStatus } from "../../../../preload/contract/trust.ts";
import { failureText } from "../../failures.ts";
import { numberText } from "../../lib/numbers.ts";
import { spanText } from "../../lib/time.ts";
import { m } from "../../paraglide/messages.js";
import type { Work } from "./backup.svelte.ts";

export type BackupAction = "set-up" | "confirm" | "create";
type Words = { at: "good" | "warn"; lead: string; rest: string; action?: BackupAction };

export function statusText(status: BackupStatus, trust: TrustStatus | undefined): Words {
  switch (status.at) {
    case "off":
      return {
        ...{ at: "warn", lead: m.backup_off(), rest: m.backup_off_means() },
        action:
          trust?.identity === "this-device-unverified"
            ? "confirm"
            : trust?.identity === "none" || trust?.recovery === "none"
              ? "set-up"
              : "create",
      };
    case "not-trusted":
      return { at: "warn", lead: m.backup_not_trusted(), rest: m.backup_not_trusted_means(), action: "confirm" };
    case "key-missing":
      return { at: "warn", lead: m.backup_key_missing(), rest: m.backup_key_missing_means(), action: "confirm" };
    case "wrong-version":
      return { at: "warn", lead: m.backup_replaced(), rest: m.backup_replaced_means(), action: "confirm" };
    case "on":
      return status.backedUp >= status.total
        ? { at: "good", lead: m.backup_complete(), rest: "" }
        : { at: "warn", lead: m.backup_partly(), rest: status.failure === undefined ? m.backup_partly_means() : "" };
  }
}

/** "1,893 of 1,900 keys · 4,380 a second"; a rate once there is one. */
export function doneText({ done, total, keysPerSecond }: Work["progress"], short = false): string {
  if (total === 0) return m.work_beginning();
  const parts = (short ? m.work_done_short : m.work_done)({ done: numberText(done), total: numberText(total) });
  return keysPerSecond < 1 ? parts : `${parts} · ${m.work_rate({ count: numberText(keysPerSecond) })}`;
}

/** Why it waits, where more is known than that the app was closed, and when it goes on. */
export const interruptedText = (work: Work): string =>
  work.state.at === "interrupted" && work.state.failure !== undefined
    ? m.work_interrupted_why({ why: workFailureText(work.kind, work.state.failure) })
    : m.work_interrupted();

export const leftText = (remainingMs: number | undefined): string =>
  remainingMs === undefined ? "" : m.work_left({ span: spanText(remainingMs) });

export const workTitle = ({ kind }: Work): string =>
  kind === "restore" ? m.work_restore() : kind === "import" ? m.work_import() : m.work_export();

/** What a file that was refused is, or is not. */
const wrongFiles: Partial<Record<string, () => string>> = {
  "not-a-key-file": m.keyfile_foreign,
  truncated: m.keyfile_truncated,
  damaged: m.keyfile_damaged,
  "unsupported-version": m.keyfile_version,
  "too-few-rounds": m.keyfile_too_few,
  "too-many-rounds": m.keyfile_too_many,
};

const kindOf = (failure: Failure): string => {
  const { kind } = (failure.details ?? {}) as { kind?: unknown };
  return typeof kind === "string" ? kind : "";
};

/** The general sentences speak of accounts and servers; here it is files and backups. */
export function workFailureText(kind: Work["kind"], failure: Failure): string {
  const detail = kindOf(failure);
  if (failure.code === "conflict" && detail === "operation-running") return m.work_one_at_a_time();
  if (kind === "restore") {
    if (failure.code === "not-found") return detail === "backup-key" ? m.restore_no_key() : m.restore_no_backup();
    return failure.code === "conflict" ? m.restore_replaced() : failureText(failure);
  }
  switch (failure.code) {
    case "wrong-key":
      return m.keyfile_wrong_key();
    case "wrong-file":
      return Object.hasOwn(wrongFiles, detail) ? (wrongFiles[detail]?.() ?? m.keyfile_foreign()) : m.keyfile_foreign();
    case "not-found":
      return detail === "folder" ? m.keyfile_no_folder() : m.keyfile_gone();
    case "forbidden":
      return kind === "import" ? m.keyfile_unreadable() : m.keyfile_unwritable();
    case "unsupported":
      return m.keyfile_no_dialog();
    default:
      return failureText(failure);
  }
}

const reasons: Partial<Record<string, () => string>> = {
  "not-decryptable": m.lost_not_decryptable,
  malformed: m.lost_malformed,
  "other-session": m.lost_other_session,
  "too-large": m.lost_too_large,
  "not-importable": m.lost_not_importable,
};
export const reasonText = (reason: string): string =>
  (Object.hasOwn(reasons, reason) ? reasons[reason] : undefined)?.() ?? m.lost_other();

export type LostRoom = { roomId: string; reasons: { reason: string; count: number }[]; count: number };

/** By room, those with most first. */
export function lostByRoom(failed: Restored["failed"]): LostRoom[] {
  const rooms = new Map<string, Map<string, number>>();
  for (const { roomId, reason } of failed) {
    const counts = rooms.get(roomId) ?? new Map<string, number>();
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
    rooms.set(roomId, counts);
  }
  return [...rooms]
    .map(([roomId, counts]) => ({
      roomId,
      reasons: [...counts].map(([reason, count]) => ({ reason, count })).sort((a, b) => b.count - a.count),
      count: [...counts.values()].reduce((sum, count) => sum + count, 0),
    }))
    .sort((a, b) => b.count - a.count);
}
