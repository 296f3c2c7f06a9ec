import { describe, expect, it } from "vitest";
import {
  linuxObtainableBytes,
  memoryGroups,
  obtainableBytes,
  residentBytes,
} from "./machine-memory.ts";

const files =
  (texts: Readonly<Record<string, string>>) =>
  (path: string): string | undefined =>
    texts[path];

const meminfo = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    8000000 kB\n";
const machine = { "/proc/meminfo": meminfo };

describe("memoryGroups", () => {
  it("finds the folders of version 2, innermost first", () => {
    expect(memoryGroups("0::/user.slice/job\n")).toEqual([
      { version: 2, folder: "/sys/fs/cgroup/user.slice/job" },
      { version: 2, folder: "/sys/fs/cgroup/user.slice" },
      { version: 2, folder: "/sys/fs/cgroup" },
    ]);
  });

  it("finds those of version 1 among other controllers, and paths with a colon", () => {
    expect(memoryGroups("5:cpu,cpuacct:/a\n4:memory:/x:y\n1:name=systemd:/b\n")).toEqual([
      { version: 1, folder: "/sys/fs/cgroup/memory/x:y" },
      { version: 1, folder: "/sys/fs/cgroup/memory" },
    ]);
    expect(memoryGroups("")).toEqual([]);
  });
});

describe("linuxObtainableBytes", () => {
  it("is what the machine has free and what the process has, without a limit", () => {
    const unlimited = { "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n" };
    expect(linuxObtainableBytes(files({ ...machine, ...unlimited }), 1000)).toBe(8_192_001_000);
    expect(linuxObtainableBytes(files(machine), 1000)).toBe(8_192_001_000);
  });

  it("stays below the tightest group around the process; the file cache of a group is free", () => {
    const texts = {
      ...machine,
      "/proc/self/cgroup": "0::/pod/container\n",
      "/sys/fs/cgroup/pod/memory.max": "3000000\n",
      "/sys/fs/cgroup/pod/memory.current": "2500000\n",
      "/sys/fs/cgroup/pod/memory.stat": "anon 7\ninactive_file 300000\nactive_file 100000\n",
      "/sys/fs/cgroup/pod/container/memory.max": "2000000000\n",
      "/sys/fs/cgroup/pod/container/memory.current": "1000\n",
    };
    expect(linuxObtainableBytes(files(texts), 50_000)).toBe(500_000 + 400_000 + 50_000);
  });

  it("reads version 1, also where only its root can be seen", () => {
    const texts = {
      ...machine,
      "/proc/self/cgroup": "4:memory:/docker/abc\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "4000000\n",
      "/sys/fs/cgroup/memory/memory.usage_in_bytes": "1000000\n",
      "/sys/fs/cgroup/memory/memory.stat":
        "inactive_file 1\ntotal_inactive_file 200000\ntotal_active_file 0\n",
    };
    expect(linuxObtainableBytes(files(texts), 10)).toBe(3_200_010);
  });

  it("is no less than what the process has when a group is over its limit", () => {
    const texts = {
      ...machine,
      "/proc/self/cgroup": "0::/\n",
      "/sys/fs/cgroup/memory.max": "100\n",
      "/sys/fs/cgroup/memory.current": "900\n",
    };
    expect(linuxObtainableBytes(files(texts), 77)).toBe(77);
  });
});

it("finds more on this machine than the tests already use", () => {
  expect(obtainableBytes()).toBeGreaterThan(residentBytes() / 2);
});
