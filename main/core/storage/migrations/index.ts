import { initial } from "./0001-initial.ts";

/** In order; step n brings a database from version n-1 to n. Never edited once released. */
export const migrations: readonly string[] = [initial];
