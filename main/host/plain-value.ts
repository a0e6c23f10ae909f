const deepest = 32;

/**
 * Whether a value is made of what JSON can say, and its size in JSON stays within `mostBytes` (roughly: escapes are not
 * counted). Structured clone lets through maps, dates, cycles and more; names of `Object.prototype` are refused as fields.
 */
export function measurePlain(value: unknown, mostBytes: number): "plain" | "too-large" | "not-plain" {
  let leftBytes = mostBytes;

  function walk(part: unknown, depth: number): boolean {
    if (leftBytes < 0) return true;
    switch (typeof part) {
      case "string":
        leftBytes -= Buffer.byteLength(part) + 2;
        return true;
      case "number":
        leftBytes -= 1;
        return Number.isFinite(part);
      case "boolean":
        leftBytes -= 4;
        return true;
      case "object":
        break;
      default:
        return false;
    }
    if (part === null) {
      leftBytes -= 4;
      return true;
    }
    if (depth > deepest) return false;
    leftBytes -= 2;
    if (Array.isArray(part)) return part.every((item: unknown) => walk(item, depth + 1));
    const prototype: unknown = Object.getPrototypeOf(part);
    if (prototype !== Object.prototype && prototype !== null) return false;
    return Object.entries(part).every(([key, item]) => {
      if (key in Object.prototype) return false;
      leftBytes -= Buffer.byteLength(key) + 3;
      // a field that is there and undefined is one that JSON would leave out
      return item === undefined || walk(item, depth + 1);
    });
  }

  const plain = walk(value, 0);
  if (leftBytes < 0) return "too-large";
  return plain ? "plain" : "not-plain";
}
