import { readFileSync } from "node:fs";

const pollMs = 500;
const highest = 6;

/** Parent's id of a process, from Linux' /proc; `undefined` where there is no such process or no /proc. */
function parentOf(processId: number): number | undefined {
  try {
    // "pid (name) state ppid …": the name may hold spaces and brackets, so from the last bracket on
    const stat = readFileSync(`/proc/${processId}/stat`, "latin1");
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    return Number.isInteger(parent) ? parent : undefined;
  } catch {
    // ended, or a system without /proc: either way there is nothing to follow
    return undefined;
  }
}

function isNpm(processId: number): boolean {
  try {
    return /(^|[\s/\0])npm(-cli\.js)?([\s\0]|$)/.test(readFileSync(`/proc/${processId}/cmdline`, "latin1"));
  } catch {
    // ended meanwhile
    return false;
  }
}

/** From this process up to the npm that started it; where there is none, its parent alone. */
function launchers(): number[] {
  const chain = [process.pid, process.ppid];
  for (let last = process.ppid; chain.length <= highest && !isNpm(last);) {
    const parent = parentOf(last);
    if (parent === undefined || parent <= 1) return chain.slice(0, 2);
    chain.push(parent);
    last = parent;
  }
  return chain.length > highest ? chain.slice(0, 2) : chain;
}

/** Calls `onBroken` once a process of the chain from npm down to this one has ended: a shell or npm may die without passing a signal on. */
export function watchAncestors(onBroken: () => void): void {
  const chain = launchers();
  const timer = setInterval(() => {
    const whole = chain.every((processId, level) => {
      const parent = chain[level + 1];
      if (parent === undefined) return true;
      return (level === 0 ? process.ppid : parentOf(processId)) === parent;
    });
    if (whole) return;
    clearInterval(timer);
    onBroken();
  }, pollMs);
  timer.unref();
}
