import { createHash } from "node:crypto";
import type { Alarm } from "../../../../preload/contract/invites.ts";
import { CoreError } from "../../errors.ts";
import type { InviteTokenStore } from "../../storage/invite-token-store.ts";

type Raised = Pick<Alarm, "kind" | "userIds" | "atMs" | "withdrawnAtMs"> & {
  /** How many of its kind there are by now, where there can be more than one. */
  events?: number;
  /** It happens just now, and may go on. */
  live?: true;
};
/** What goes on while somebody puts it away is what they have seen; after this it is news. */
const sameForMs = 3_600_000;
export type TokenAlarms = ReturnType<typeof createTokenAlarms>;

type Parts = { store: InviteTokenStore; changed: () => void; nowMs: () => number };

/**
 * What the person has to know of their codes. Once for the same kind, code and people, on every device the same; what was put away
 * comes back with a further event alone, on this device.
 */
export function createTokenAlarms({ store, changed, nowMs }: Parts) {
  return {
    raise: (tokenId: string, alarm: Raised): void => {
      const people = [...new Set(alarm.userIds)].sort();
      const name = createHash("sha256")
        .update(JSON.stringify([alarm.kind, tokenId, people]))
        .digest();
      const alarmId = name.subarray(0, 16).toString("base64url");
      const before = store.alarm(alarmId);
      const events = Math.max(alarm.events ?? 1, before?.events ?? 1);
      if (before?.put_away_at_ms === null) {
        if (events > before.events) store.putAlarm({ ...before, events });
        return;
      }
      if (before !== undefined) {
        const goesOn = alarm.live === true && Math.abs(nowMs() - before.put_away_at_ms) >= sameForMs;
        if (events <= before.events && !goesOn) return;
      }
      store.putAlarm({
        alarm_id: alarmId,
        kind: alarm.kind,
        token_id: tokenId,
        user_ids: JSON.stringify(people),
        at_ms: alarm.atMs,
        withdrawn_at_ms: alarm.withdrawnAtMs ?? null,
        events,
        put_away_at_ms: null,
      });
      changed();
    },
    /** The person has seen it. Throws `not-found`. Idempotent. */
    putAway: (alarmId: string): void => {
      const row = store.alarm(alarmId);
      if (row === undefined) throw new CoreError("not-found", { message: "There is no such alarm." });
      if (row.put_away_at_ms !== null) return;
      store.putAlarm({ ...row, put_away_at_ms: nowMs() });
      changed();
    },
    /** Newest first. */
    list: (): Alarm[] =>
      store.alarms().map((row) => ({
        alarmId: row.alarm_id,
        kind: row.kind as Alarm["kind"],
        tokenId: row.token_id,
        userIds: JSON.parse(row.user_ids) as string[],
        atMs: row.at_ms,
        ...(row.withdrawn_at_ms === null ? {} : { withdrawnAtMs: row.withdrawn_at_ms }),
      })),
  };
}
