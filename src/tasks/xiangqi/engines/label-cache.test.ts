import { type ChildProcess, spawn } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { scriptedProgram } from "../../../../tests/scripted-xiangqi-engine.ts";
import { DataError, EngineError, RunError } from "../../../core/errors.ts";
import { formatFen, parseFen } from "../rules/fen.ts";
import { minixiangqi, xiangqi } from "../rules/variant.ts";
import type { Analysis, XiangqiEngine } from "./engine.ts";
import { openExternalEngine } from "./external-engine.ts";
import { cachedEngine, type LabelCache, openLabelCache } from "./label-cache.ts";

let folder: string;
let path: string;
const opened: LabelCache[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "alidade-labels-"));
  path = join(folder, "deep", "labels.jsonl");
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((cache) => cache.close()));
  rmSync(folder, { recursive: true, force: true });
});

async function openCache(): Promise<LabelCache> {
  const cache = await openLabelCache(path);
  opened.push(cache);
  return cache;
}

/** An engine whose values count its answers; it fails for the FENs that it is told. */
function countingEngine(id = "counting", failing: readonly string[] = []) {
  const asked: string[] = [];
  const engine: XiangqiEngine = {
    id,
    variant: xiangqi,
    analyse: async (fen, { depth, lines = 1 }): Promise<Analysis> => {
      asked.push(fen);
      if (failing.includes(fen)) {
        throw new EngineError({ where: id, expected: "an answer", got: "none" });
      }
      const moves = ["h2e2", "h9g7"];
      const value = asked.length;
      return {
        depth,
        lines: Array.from({ length: lines }, () => ({ move: "h2e2", value, moves })),
      };
    },
    close: async () => undefined,
  };
  return { engine, asked };
}

/** Positions of a game that begins with moves of the chariot. */
const fens: readonly string[] = (() => {
  const { position } = parseFen(xiangqi.start);
  return Array.from({ length: 3 }, () => {
    position.make(position.legalMoves().at(0)!);
    return formatFen(position);
  });
})();
const [first = "", second = ""] = fens;

describe("the cache", () => {
  it("asks for each position once, now and after it was opened again", async () => {
    const cache = await openCache();
    const { engine, asked } = countingEngine();
    const cached = cachedEngine(engine, cache);
    const made = await cached.analyse(first, { depth: 3 });
    expect(await cached.analyse(first, { depth: 3, lines: 1 })).toEqual(made);
    expect([cache.hits, cache.misses, cache.size, asked.length]).toEqual([1, 1, 1, 1]);
    expect([cached.id, cached.variant]).toEqual([engine.id, xiangqi]);

    const again = await openCache();
    const other = countingEngine();
    expect(await cachedEngine(other.engine, again).analyse(first, { depth: 3 })).toEqual(made);
    expect([again.hits, again.misses, other.asked.length]).toEqual([1, 0, 0]);
  });

  it("tells apart what gives other values, and nothing else", async () => {
    const cache = await openCache();
    const { engine, asked } = countingEngine();
    const cached = cachedEngine(engine, cache);
    const [placement = "", side = ""] = first.split(" ");
    const same = [first, `${placement} ${side}`, `${placement} ${side} - - 37 99`];
    const letters = placement.replaceAll("B", "E").replaceAll("n", "h");
    for (const fen of [...same, `${letters} ${side}`]) await cached.analyse(fen, { depth: 3 });
    // Plies since the last capture are no part of the key, so the engine does not see them.
    expect(asked).toEqual([`${placement} ${side} - - 0 1`]);

    const otherSide = `${placement} ${side === "w" ? "b" : "w"}`;
    await cached.analyse(otherSide, { depth: 3 });
    await cached.analyse(first, { depth: 4 });
    await cached.analyse(first, { depth: 3, lines: 2 });
    await cachedEngine(countingEngine("another").engine, cache).analyse(first, { depth: 3 });
    expect([cache.size, cache.misses]).toEqual([5, 5]);
  });

  it("makes one analysis for all who ask at the same time", async () => {
    const cache = await openCache();
    const { engine, asked } = countingEngine("counting", [`${second.split(" - ")[0]} - - 0 1`]);
    const cached = cachedEngine(engine, cache);
    const [one, two] = await Promise.all([1, 2].map(() => cached.analyse(first, { depth: 3 })));
    expect(one).toEqual(two);
    expect([cache.hits, cache.misses, asked.length]).toEqual([1, 1, 1]);
    const failed = await Promise.allSettled([1, 2].map(() => cached.analyse(second, { depth: 3 })));
    expect(failed.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(cache.size).toBe(1);
  });

  it("refuses positions that cannot be, and keeps those of a variant apart by their shape", async () => {
    const cached = cachedEngine(countingEngine().engine, await openCache());
    await expect(cached.analyse(minixiangqi.start, { depth: 3 })).rejects.toThrow(DataError);
  });

  it("keeps what an engine has said before it died", async () => {
    const fen = "3k5/9/9/9/9/9/9/9/4A4/4K4 w";
    const answer = ["info depth 3 score cp 7 pv e1d2", "bestmove e1d2"];
    const program = scriptedProgram({
      hello: ["id name Dying", "uciok"],
      start: xiangqi.start,
      startAnswer: ["bestmove h2e2"],
      lives: [{ go: [answer, ["!die"]] }],
    });
    const { command } = program;
    const limits = { depth: 3 };
    const open = () =>
      openExternalEngine({ command, protocol: "uci", timeoutMs: 20_000, restarts: 0 });
    const engine = cachedEngine(await open(), await openCache());
    const made = await engine.analyse(fen, limits);
    await expect(engine.analyse(first, limits)).rejects.toThrow(/got its end by SIGKILL/);
    await engine.close();

    const cache = await openCache();
    expect(cache.size).toBe(1);
    const again = cachedEngine(await open(), cache);
    expect(await again.analyse(fen, limits)).toEqual(made);
    expect(made.lines[0]!.value).toBe(7);
    await again.close();
    program.remove();
  });

  it("says that it cannot write, and that it cannot be", async () => {
    const cache = await openLabelCache(path);
    await cache.close();
    const cached = cachedEngine(countingEngine().engine, cache);
    await expect(cached.analyse(first, { depth: 3 })).rejects.toThrow(RunError);
    await expect(openLabelCache(folder)).rejects.toThrow(RunError);
  });
});

describe("the file", () => {
  async function fill(count: number): Promise<void> {
    const cache = await openLabelCache(path);
    const cached = cachedEngine(countingEngine().engine, cache);
    for (const fen of fens.slice(0, count)) await cached.analyse(fen, { depth: 2 });
    await cache.close();
  }

  it("loses half a line at its end, wherever it was cut, and nothing else", async () => {
    await fill(3);
    const whole = readFileSync(path);
    const twoLines = whole.lastIndexOf(10, whole.length - 2) + 1;
    for (let length = twoLines + 1; length < whole.length; length += 17) {
      writeFileSync(path, whole.subarray(0, length));
      const cache = await openLabelCache(path);
      expect(cache.size).toBe(2);
      expect(readFileSync(path).length).toBe(twoLines);
      await cache.close();
    }
    writeFileSync(path, whole.subarray(0, 30));
    expect((await openCache()).size).toBe(0);
  });

  it("loses half a line that another process has left meanwhile", async () => {
    await fill(1);
    const cache = await openCache();
    appendFileSync(path, '{"fen":"rnb');
    await cachedEngine(countingEngine().engine, cache).analyse(second, { depth: 2 });
    expect((await openCache()).size).toBe(2);
  });

  it.each([
    ["half a line", (line: string) => line.slice(0, 40), /expected a line of JSON/],
    ["no line", () => "", /expected a line of JSON/],
    ["other JSON", () => "[1]", /expected a kept analysis, got \[1\]/],
    [
      "a value that is none",
      (line: string) => line.replace(/"value":\d+/, '"value":null'),
      /analysis\.lines\.0\.value/,
    ],
    [
      "a value beyond mates",
      (line: string) => line.replace(/"value":\d+/, '"value":1e9'),
      /analysis\.lines\.0\.value/,
    ],
    ["no move", (line: string) => line.replace("h2e2", "h2"), /analysis\.lines\.0\.move/],
    ["no depth", (line: string) => line.replace('"depth":2', '"depth":0'), /depth/],
  ])("is refused with %s in its middle", async (_name, damage, message) => {
    await fill(3);
    const lines = readFileSync(path, "utf8").split("\n");
    writeFileSync(path, lines.with(1, damage(lines[1]!)).join("\n"));
    const error: unknown = await openLabelCache(path).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DataError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toContain(`${path}, line 2: `);
  });

  it("is refused with bytes that are no text", async () => {
    await fill(2);
    const bytes = readFileSync(path);
    bytes[20] = 0xff;
    writeFileSync(path, bytes);
    await expect(openLabelCache(path)).rejects.toThrow(/line 1: expected UTF-8 text/);
  });
});

describe("processes that write to one file", () => {
  const writer = fileURLToPath(
    new URL("../../../../tests/label-cache-writer.mjs", import.meta.url),
  );
  const started: ChildProcess[] = [];
  afterEach(() => {
    for (const child of started.splice(0)) child.kill("SIGKILL");
  });

  const start = (name: string, count: number): ChildProcess => {
    const child = spawn(process.execPath, ["--import", "tsx", writer, path, name, `${count}`], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    started.push(child);
    return child;
  };
  const ended = (child: ChildProcess): Promise<unknown> =>
    new Promise((resolve) => child.once("exit", resolve));

  it("leave whole lines, even when one is killed", async () => {
    const [killed, kept] = [start("killed", 1e9), start("kept", 200)];
    const end = ended(killed);
    expect(await ended(kept)).toBe(0);
    const size = (): number => (existsSync(path) ? readFileSync(path, "utf8").length : 0);
    while (!(size() > 0 && readFileSync(path, "utf8").includes('"killed"'))) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    killed.kill("SIGKILL");
    await end;
    const cache = await openCache();
    const lines = readFileSync(path, "utf8").split("\n").slice(0, -1);
    expect(cache.size).toBe(lines.length);
    expect(lines.filter((line) => line.includes('"engine":"kept"'))).toHaveLength(200);
  });
});
