// How much memory this process can have. Control groups (containers, batch systems) limit it below what the machine has, and a
// process that passes their limit is killed without a word; so they are read here. Node's own `availableMemory` counts the file
// cache of a group as used and looks at the innermost group alone.

import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { posix } from "node:path";

/** Text of a file; undefined when it is not there. */
export type ReadText = (path: string) => string | undefined;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
};

/** Bytes in memory that belong to this process now. */
export const residentBytes = (): number => process.memoryUsage.rss();

/** Most bytes that this process ever had in memory; macOS counts in bytes where others count in KiB, and Node evens that out. */
export const peakResidentBytes = (): number => process.resourceUsage().maxRSS * 1024;

/** Bytes that this process can have in all: what it has now and what is free. Swap does not count. */
export function obtainableBytes(): number {
  if (process.platform !== "linux") return totalmem();
  return Math.min(totalmem(), linuxObtainableBytes(readText, residentBytes()));
}

/** The smallest of what the machine and each control group around the process have left, and what the process has now. */
export function linuxObtainableBytes(read: ReadText, resident: number): number {
  const free = freeOfMachine(read("/proc/meminfo") ?? "");
  const groups = memoryGroups(read("/proc/self/cgroup") ?? "").map((group) =>
    freeOfGroup(read, group),
  );
  return Math.max(0, Math.min(free, ...groups)) + resident;
}

/** MemAvailable of /proc/meminfo, in bytes. */
function freeOfMachine(text: string): number {
  const found = /^MemAvailable:\s+(\d+) kB$/m.exec(text);
  return found === null ? Infinity : 1024 * Number(found[1]);
}

interface MemoryGroup {
  readonly version: 1 | 2;
  readonly folder: string;
}

/**
 * Folders of the process's memory group and of those around it, from /proc/self/cgroup. Lines are `id:controllers:path`; version 2
 * is `0::path`. In a container the path may be that of the host, and only the root is there.
 */
export function memoryGroups(text: string): MemoryGroup[] {
  return text.split("\n").flatMap((line): MemoryGroup[] => {
    const [id, controllers, ...rest] = line.split(":");
    const path = rest.join(":");
    const isFirst = controllers?.split(",").includes("memory") === true;
    if (!path.startsWith("/") || (!isFirst && (id !== "0" || controllers !== ""))) return [];
    const root = isFirst ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    const groups: MemoryGroup[] = [];
    for (let at = posix.normalize(path); ; at = posix.dirname(at)) {
      groups.push({ version: isFirst ? 1 : 2, folder: at === "/" ? root : root + at });
      if (at === "/") return groups;
    }
  });
}

const FILES = {
  1: { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", prefix: "total_" },
  2: { limit: "memory.max", used: "memory.current", prefix: "" },
} as const;

/** Bytes below the limit of a group. Its file cache does not count: the kernel gives it up. No limit, or no such group: Infinity. */
function freeOfGroup(read: ReadText, { version, folder }: MemoryGroup): number {
  const { limit, used, prefix } = FILES[version];
  const number = (name: string): number => Number.parseInt(read(`${folder}/${name}`) ?? "", 10);
  const [most, now] = [number(limit), number(used)];
  if (Number.isNaN(most) || Number.isNaN(now)) return Infinity; // "max" is no number
  const statistics = read(`${folder}/memory.stat`) ?? "";
  const cache = ["inactive_file", "active_file"].reduce((total, name) => {
    const found = new RegExp(`^${prefix}${name} (\\d+)$`, "m").exec(statistics);
    return total + (found === null ? 0 : Number(found[1]));
  }, 0);
  return most - (now - cache);
}
