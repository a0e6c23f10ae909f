import { stat } from "node:fs/promises";
import { type BrowserWindow, dialog } from "electron";
import type { Parsed } from "../../preload/contract/index.ts";

/** Asks the person for a file in the system's own dialog. Null where they cancelled. */
export async function chooseFile(
  window: BrowserWindow | undefined,
  { purpose, name, filters }: Parsed<"file.choose">,
): Promise<{ path: string; sizeBytes?: number } | null> {
  if (window === undefined) return null;
  const options = {
    ...(name === undefined ? {} : { defaultPath: name }),
    ...(filters === undefined ? {} : { filters }),
  };
  if (purpose === "save") {
    const { canceled, filePath } = await dialog.showSaveDialog(window, options);
    return canceled || filePath === "" ? null : { path: filePath };
  }
  const { canceled, filePaths } = await dialog.showOpenDialog(window, { ...options, properties: ["openFile"] });
  const [file] = filePaths;
  if (canceled || file === undefined) return null;
  return { path: file, sizeBytes: (await stat(file)).size };
}
