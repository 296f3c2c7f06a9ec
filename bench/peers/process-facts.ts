// What both measuring programs of ours report beside times: memory and versions.

import { readFileSync } from "node:fs";

/** A line of /proc/self/status in bytes: VmHWM is the peak, VmRSS what is resident now. */
export function memoryBytes(name: "VmHWM" | "VmRSS"): number {
  const line = new RegExp(`${name}:\\s+(\\d+) kB`).exec(
    readFileSync("/proc/self/status", "utf8"),
  )![1]!;
  return Number(line) * 1024;
}

export function versions(): Record<string, string> {
  const path = "node_modules/onnxruntime-node/package.json"; // run.sh starts us at the root
  const { version } = JSON.parse(readFileSync(path, "utf8")) as { version: string };
  return { node: process.versions.node, "onnxruntime-node": version };
}
