/** Prints one sheet of plain lines in place of the page: a heading, then paragraphs; `mono` ones in the face for codes. */
export function printSheet(heading: string, lines: readonly { text: string; mono?: true }[]): void {
  const sheet = document.createElement("section");
  sheet.className = "print-sheet";
  sheet.setAttribute("aria-hidden", "true");
  const title = document.createElement("h1");
  title.textContent = heading;
  sheet.append(title);
  for (const { text, mono } of lines) {
    const line = document.createElement("p");
    line.textContent = text;
    if (mono === true) line.className = "code";
    sheet.append(line);
  }
  printElement(sheet);
}

/** Prints an element of class `print-sheet` in place of the page. */
export function printElement(sheet: HTMLElement): void {
  document.body.append(sheet);
  // Chromium waits in print() until its dialog is closed; others say when they are done
  addEventListener(
    "afterprint",
    () => {
      sheet.remove();
    },
    { once: true },
  );
  window.print();
}
