/** Hands a text to the browser's own "save as". It goes through memory alone: no address, no server, no file of ours. */
export const saveText = (name: string, text: string): void => {
  saveFile(name, text, "text/plain;charset=utf-8");
};

export function saveFile(name: string, content: string | Uint8Array, type: string): void {
  const url = URL.createObjectURL(new Blob([content as BlobPart], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // the download has begun by the next task; an address that stays would keep the content in memory
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 60_000);
}
