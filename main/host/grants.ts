import { randomBytes } from "node:crypto";

export type FilePurpose = "open" | "save";

/** One-use words that stand for paths which a person chose; a window never sees or names a path. */
export type Grants = {
  /** 128 random bits as text. */
  give: (path: string, purpose: FilePurpose) => string;
  /** The path, once; `undefined` for a word that was not given, was given for another purpose, or was used. */
  redeem: (grant: string, purpose: FilePurpose) => string | undefined;
};

/** Of more than `most` unused ones the oldest is forgotten: a window cannot make the table grow without end. */
export function createGrants(most = 100): Grants {
  const given = new Map<string, { path: string; purpose: FilePurpose }>();
  return {
    give(path, purpose) {
      const grant = randomBytes(16).toString("base64url");
      given.set(grant, { path, purpose });
      for (const oldest of given.keys()) {
        if (given.size <= most) break;
        given.delete(oldest);
      }
      return grant;
    },
    redeem(grant, purpose) {
      const found = given.get(grant);
      if (found?.purpose !== purpose) return undefined;
      given.delete(grant);
      return found.path;
    },
  };
}
