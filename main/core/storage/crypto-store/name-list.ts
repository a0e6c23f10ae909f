/** The part of DOMStringList that IndexedDB's callers use. */
export class NameList extends Array<string> {
  static sorted(names: Iterable<string>): NameList {
    const list = new NameList();
    for (const name of [...names].sort((a, b) => (a < b ? -1 : 1))) list.push(name);
    return list;
  }

  contains(name: string): boolean {
    return this.includes(name);
  }

  item(index: number): string | null {
    return this[index] ?? null;
  }
}
