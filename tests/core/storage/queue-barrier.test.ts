import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { createSendQueue } from "../../../main/core/features/timeline/send-queue.ts";
import type { Http } from "../../../main/core/matrix/http.ts";
import { openAccountDatabase } from "../../../main/core/storage/database.ts";
import { createQueueStore } from "../../../main/core/storage/queue-store.ts";
import { createRoomStore } from "../../../main/core/storage/room-store.ts";
import { eventually } from "../../eventually.ts";

const roomId = "!room:tessera.test";

test("a message leaves after the barrier that followed its own encryption, and the next one's comes while it is under way", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "tessera-queue-"));
  const db = openAccountDatabase(path.join(folder, "account.db"), new Uint8Array(32).fill(1), false);
  const steps: string[] = [];
  const held: (() => void)[] = [];
  const rooms = createRoomStore(db, "@ana:tessera.test");
  rooms.ensure(roomId, "join");
  rooms.set(roomId, { members_known: 1 });
  rooms.applyState(
    roomId,
    {
      type: "m.room.encryption",
      state_key: "",
      sender: "@ana:tessera.test",
      content: { algorithm: "m.megolm.v1.aes-sha2" },
    },
    1,
  );
  let failing = false;
  const http: Pick<Http, "request"> = {
    request: async (_method, _path, more) => {
      const { ciphertext } = more?.body as { ciphertext: string };
      steps.push(`put ${ciphertext}`);
      expect(more?.isDurable).toBe(true);
      await new Promise<void>((resolve, reject) => {
        held.push(resolve);
        more?.signal?.addEventListener("abort", () => {
          reject(new Error("stopped"));
        });
      });
      return { event_id: `$${ciphertext}` };
    },
  };
  const queue = createSendQueue({
    db,
    queue: createQueueStore(db),
    rooms,
    http: http as Http,
    fresh: () => Promise.resolve(),
    encrypt: (_roomId, _type, content) => {
      steps.push(`encrypt ${String(content["body"])}`);
      return Promise.resolve({ algorithm: "m.megolm.v1.aes-sha2", ciphertext: content["body"] });
    },
    barrier: () => {
      steps.push("barrier");
      return failing ? Promise.reject(new Error("the disk is full")) : Promise.resolve();
    },
    changed: () => undefined,
    nowMs: () => Date.now(),
  });
  try {
    for (const body of ["one", "two"]) queue.add(roomId, "m.room.message", { body }, undefined);
    await eventually(
      () => steps.length,
      (length) => length === 5,
    );
    expect(steps).toEqual(["encrypt one", "barrier", "put one", "encrypt two", "barrier"]);
    held.shift()?.();
    await eventually(
      () => held.length,
      (length) => length === 1,
    );
    expect(steps.at(-1)).toBe("put two");
    failing = true;
    queue.add(roomId, "m.room.message", { body: "three" }, undefined);
    held.shift()?.();
    await eventually(
      () => createQueueStore(db).ofRoom(roomId),
      (rows) => rows[2]?.state === "failed",
    );
    expect(steps).not.toContain("put three");
  } finally {
    await queue.stop();
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
