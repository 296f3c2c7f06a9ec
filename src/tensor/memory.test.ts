// Native memory of programs is given back: on dispose at once, else when nothing refers to them any more.

import { spawnSync } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { randomStream } from "../core/random.ts";
import { add, allocate, compile, constant, input, matmul, type Program } from "./index.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const COUNT = 200;
const SIDE = 320;
/** What one session keeps at least: its copy of the weights. */
const PROGRAM_BYTES = SIDE * SIDE * 4;

const random = randomStream(1, "memory");
const weights = Float32Array.from({ length: SIDE * SIDE }, () => random.uniform());
const x = allocate("float32", [1, SIDE]);

function use(index: number): Program {
  const y = matmul(input("x", [1, SIDE]), constant(weights, [SIDE, SIDE]));
  const program = compile({ y: add(y, index) });
  program.bind({ x }).runNow();
  return program;
}

/** Resident bytes after the garbage is gone, finalizers included. */
async function resident(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    collect();
    await setTimeout(2);
  }
  return process.memoryUsage().rss;
}

/** Growth while `COUNT` programs come and go. */
async function growth(each: (index: number) => void): Promise<number> {
  const many = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index++) {
      each(index);
      if (index % 25 === 24) await resident();
    }
  };
  await many(25);
  const before = await resident();
  await many(COUNT);
  return (await resident()) - before;
}

const LEAK = COUNT * PROGRAM_BYTES; // 82 MB

it("is freed by dispose, while the programs are still referred to", async () => {
  const disposed: Program[] = [];
  const grown = await growth((index) => {
    const program = use(index);
    program.dispose();
    disposed.push(program);
  });
  expect(grown).toBeLessThan(0.6 * LEAK);
  expect(disposed.length).toBeGreaterThan(COUNT);
});

it("is freed with the garbage", async () => {
  const grown = await growth((index) => void use(index));
  expect(grown).toBeLessThan(0.6 * LEAK);
});

it("is in use while a program lives: what the two tests above would see of a leak", async () => {
  const alive: Program[] = [];
  const grown = await growth((index) => void alive.push(use(index)));
  expect(grown).toBeGreaterThan(0.9 * LEAK);
  for (const program of alive) program.dispose();
});

it.runIf(process.platform === "linux")("keeps the library mapped whatever is collected", () => {
  // In a process of its own: the moment that matters is before anything else holds the library.
  const script = `
    const { functionTable } = await import(${JSON.stringify(new URL("./ort.ts", import.meta.url).href)});
    const { readFileSync } = await import("node:fs");
    functionTable();
    for (let round = 0; round < 5; round++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    console.log(readFileSync("/proc/self/maps", "utf8").includes("libonnxruntime"));`;
  const options = ["--expose-gc", "--import", "tsx", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, options, { encoding: "utf8" });
  expect(stdout.trim(), stderr).toBe("true");
});
