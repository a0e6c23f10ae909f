import type { AccountDatabase } from "./database.ts";

export type FlowRow = {
  flow_id: string;
  user_id: string;
  room_id: string | null;
  device_id: string | null;
  mine: number;
  requested_at_ms: number;
  at: "offered" | "open" | "settling" | "ended";
  request: string | null;
  proof: string | null;
  settling_since_ms: number | null;
};
export type VerificationStore = ReturnType<typeof createVerificationStore>;

/** Verification flows across runs: Rust crypto keeps them in memory alone. */
export function createVerificationStore(db: AccountDatabase) {
  return {
    put: (row: FlowRow) =>
      db.run(
        `insert into verification_flows(flow_id, user_id, room_id, device_id, mine, requested_at_ms, at, request, proof, settling_since_ms)
         values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         on conflict do update set device_id = excluded.device_id, at = excluded.at, request = excluded.request,
           proof = excluded.proof, settling_since_ms = excluded.settling_since_ms`,
        row.flow_id,
        row.user_id,
        row.room_id,
        row.device_id,
        row.mine,
        row.requested_at_ms,
        row.at,
        row.request,
        row.proof,
        row.settling_since_ms,
      ),
    isKnown: (flowId: string): boolean =>
      db.get("select 1 from verification_flows where flow_id = ?", flowId) !== undefined,
    unfinished: () => db.all<FlowRow>("select * from verification_flows where at <> 'ended' order by requested_at_ms"),
    remove: (flowId: string) => db.run("delete from verification_flows where flow_id = ?", flowId),
    /** Ended ones are kept as long as their request could come again. */
    forgetEndedBefore: (ms: number) =>
      db.run("delete from verification_flows where at = 'ended' and requested_at_ms < ?", ms),
  };
}
