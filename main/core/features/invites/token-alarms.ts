import { createHash } from "node:crypto";
import type { Alarm } from "../../../../preload/contract/invites.ts";
import type { InviteTokenStore } from "../../storage/invite-token-store.ts";

type Raised = Pick<Alarm, "kind" | "userIds" | "atMs" | "withdrawnAtMs">;
export type TokenAlarms = ReturnType<typeof createTokenAlarms>;

/** What the person has to know of their codes. Once for the same kind, code and people, on every device the same. */
export function createTokenAlarms({ store, changed }: { store: InviteTokenStore; changed: () => void }) {
  return {
    raise: (tokenId: string, alarm: Raised): void => {
      const people = [...new Set(alarm.userIds)].sort();
      const name = createHash("sha256")
        .update(JSON.stringify([alarm.kind, tokenId, people]))
        .digest();
      const isNew = store.addAlarm({
        alarm_id: name.subarray(0, 16).toString("base64url"),
        kind: alarm.kind,
        token_id: tokenId,
        user_ids: JSON.stringify(people),
        at_ms: alarm.atMs,
        withdrawn_at_ms: alarm.withdrawnAtMs ?? null,
      });
      if (isNew) changed();
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
