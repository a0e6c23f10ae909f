import { isObject, type Json } from "../json.ts";
import type { AccountDatabase } from "./database.ts";

export type PlanKind = "set-up" | "reset";
export type RecoveryNote = "set-up" | "reset" | "recover" | "drill" | "repair" | "seen";
export type IdentityStore = ReturnType<typeof createIdentityStore>;

/** The identity's journal: what is being made, what a reset replaced, what the server was last seen to have. */
export function createIdentityStore(db: AccountDatabase) {
  return {
    plan: (): { kind: PlanKind; plan: Json; done: boolean } | undefined => {
      const row = db.get<{ kind: PlanKind; plan: string; done: number }>("select kind, plan, done from identity_plan");
      const plan = row === undefined ? undefined : (JSON.parse(row.plan) as unknown);
      return row !== undefined && isObject(plan) ? { kind: row.kind, plan, done: row.done === 1 } : undefined;
    },
    /** On the disk before it returns: what leaves for the server next can be undone by nobody who lost it. */
    savePlan: async (kind: PlanKind, plan: object, nowMs: number): Promise<void> => {
      db.run(
        `insert into identity_plan(one, kind, plan, begun_ms) values(1, ?, ?, ?)
         on conflict do update set kind = excluded.kind, plan = excluded.plan, done = 0`,
        kind,
        JSON.stringify(plan),
        nowMs,
      );
      await db.barrier();
    },
    finishPlan: () => db.run("update identity_plan set done = 1"),
    dropPlan: () => db.run("delete from identity_plan"),
    /** Once, where the same is kept already. */
    keep: async (kind: string, content: object, nowMs: number): Promise<void> => {
      const kept = JSON.stringify(content);
      db.run(
        `insert into identity_salvage(kept_ms, kind, content) select ?, ?, ?
         where not exists (select 1 from identity_salvage where kind = ? and content = ?)`,
        nowMs,
        kind,
        kept,
        kind,
        kept,
      );
      await db.barrier();
    },
    salvage: (): { keptMs: number; kind: string; content: Json }[] =>
      db
        .all<{ kept_ms: number; kind: string; content: string }>(
          "select kept_ms, kind, content from identity_salvage order by number desc",
        )
        .flatMap((row) => {
          const content = JSON.parse(row.content) as unknown;
          return isObject(content) ? [{ keptMs: row.kept_ms, kind: row.kind, content }] : [];
        }),
    check: (): { atMs: number; content: Json } | undefined => {
      const row = db.get<{ at_ms: number; content: string }>("select at_ms, content from identity_check");
      const content = row === undefined ? undefined : (JSON.parse(row.content) as unknown);
      return row !== undefined && isObject(content) ? { atMs: row.at_ms, content } : undefined;
    },
    /** One line more on what became of the way back. `seen`: it was there, and nothing is known of before. */
    noteRecovery: (kind: RecoveryNote, ok: boolean, nowMs: number) =>
      db.run("insert into recovery_log(at_ms, kind, ok) values(?, ?, ?)", nowMs, kind, ok ? 1 : 0),
    lastDrill: (): { atMs: number; ok: boolean } | undefined => {
      const row = db.get<{ at_ms: number; ok: number }>(
        "select at_ms, ok from recovery_log where kind = 'drill' order by number desc limit 1",
      );
      return row === undefined ? undefined : { atMs: row.at_ms, ok: row.ok === 1 };
    },
    /** When the way back was last known to work, or was first seen. */
    lastGoodMs: (): number | undefined =>
      db.get<{ at_ms: number }>("select at_ms from recovery_log where ok = 1 order by number desc limit 1")?.at_ms,
    setCheck: (content: object, nowMs: number) => {
      db.run(
        `insert into identity_check(one, at_ms, content) values(1, ?, ?)
         on conflict do update set at_ms = excluded.at_ms, content = excluded.content`,
        nowMs,
        JSON.stringify(content),
      );
    },
  };
}
