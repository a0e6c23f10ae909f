import * as v from "valibot";
import { command } from "./define.ts";

/** A one-use word that stands for a path which the person chose in the host's own dialog or dropped on the window. */
export type FileGrant = { path: string; name: string; sizeBytes?: number };

const chooseFile = v.strictObject({
  purpose: v.picklist(["open", "save"]),
  name: v.optional(v.pipe(v.string(), v.maxLength(255))),
  filters: v.optional(
    v.pipe(
      v.array(
        v.strictObject({
          name: v.pipe(v.string(), v.maxLength(100)),
          extensions: v.pipe(v.array(v.pipe(v.string(), v.regex(/^[a-z0-9]{1,16}$/i))), v.maxLength(20)),
        }),
      ),
      v.maxLength(10),
    ),
  ),
});

/** The path of a file in a command's input. Over a window's door the router takes a grant of this purpose and puts the real path in its place. */
export const filePath = (purpose: "open" | "save") =>
  v.pipe(v.string(), v.minLength(1), v.maxLength(4096), v.metadata({ filePath: purpose }));

/** What a window draws itself, as a code's picture, is small. */
const mostBase64 = 700_000;
const saveFile = v.strictObject({
  path: filePath("save"),
  base64: v.pipe(v.string(), v.minLength(1), v.maxLength(mostBase64), v.regex(/^[A-Za-z0-9+/]+={0,2}$/)),
});

/** Answered by the door: the headless one takes paths of the file system and has no dialog. */
export const fileCommands = {
  "file.choose": command<FileGrant | null>()(chooseFile),
  /** Bytes of a window into the file that the person chose; there whole or not at all. */
  "file.save": command<{ sizeBytes: number }>()(saveFile),
};
