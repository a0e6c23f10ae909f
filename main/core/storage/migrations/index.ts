import { initial } from "./0001-initial.ts";
import { deviceKeys } from "./0002-device-keys.ts";
import { trust } from "./0003-trust.ts";
import { verification } from "./0004-verification.ts";
import { backup } from "./0005-backup.ts";
import { historySharing } from "./0006-history-sharing.ts";
import { salvage } from "./0007-salvage.ts";
import { invites } from "./0008-invites.ts";
import { recovery } from "./0009-recovery.ts";
import { marks } from "./0010-marks.ts";
import { putAway } from "./0011-put-away.ts";

/** In order; step n brings a database from version n-1 to n. Never edited once released. */
export const migrations: readonly string[] = [
  initial,
  deviceKeys,
  trust,
  verification,
  backup,
  historySharing,
  salvage,
  invites,
  recovery,
  marks,
  putAway,
];
