/** Whom a text is about to mention, and the marks around a selection. */
export type Mentionable = { userId: string; name: string };

export type MentionQuery = { from: number; text: string };

/** The `@…` before the caret that is still being typed. */
export function mentionQuery(text: string, caret: number): MentionQuery | undefined {
  const match = /(?:^|[\s(])@([^\s@][^@\n]{0,29}|)$/.exec(text.slice(0, caret));
  const typed = match?.[1];
  if (typed === undefined) return undefined;
  return { from: caret - typed.length - 1, text: typed };
}

export function mentionHits(people: readonly Mentionable[], typed: string, limit = 6): Mentionable[] {
  const wanted = typed.toLocaleLowerCase();
  const begins: Mentionable[] = [];
  const holds: Mentionable[] = [];
  for (const person of people) {
    const name = person.name.toLocaleLowerCase();
    if (name.startsWith(wanted) || person.userId.toLowerCase().startsWith(`@${wanted}`)) begins.push(person);
    else if (name.split(/\s+/).some((word) => word.startsWith(wanted))) holds.push(person);
  }
  return [...begins, ...holds].slice(0, limit);
}

/** Wraps the selection in a mark of Markdown, or takes the mark away. */
export function toggleMark(
  text: string,
  from: number,
  to: number,
  mark: string,
): { text: string; from: number; to: number } {
  const size = mark.length;
  if (text.slice(from - size, from) === mark && text.slice(to, to + size) === mark)
    return {
      text: text.slice(0, from - size) + text.slice(from, to) + text.slice(to + size),
      from: from - size,
      to: to - size,
    };
  return {
    text: text.slice(0, from) + mark + text.slice(from, to) + mark + text.slice(to),
    from: from + size,
    to: to + size,
  };
}

/** The mentioned people whose name is still in the text. */
export class Mentions {
  #chosen = new Map<string, string>();

  add(person: Mentionable): void {
    this.#chosen.set(person.userId, person.name);
  }

  of(text: string): string[] {
    return [...this.#chosen].filter(([, name]) => text.includes(name)).map(([userId]) => userId);
  }

  clear(): void {
    this.#chosen.clear();
  }
}
