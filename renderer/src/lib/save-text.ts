/** Hands a text to the browser's own "save as". It goes through memory alone: no address, no server, no file of ours. */
export function saveText(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // the download has begun by the next task; an address that stays would keep the text in memory
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 60_000);
}
