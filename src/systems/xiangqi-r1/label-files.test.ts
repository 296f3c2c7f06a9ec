import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentProgress } from "../../core/progress.ts";
import { splitOf } from "../../rollout/items.ts";
import { Search } from "../../tasks/xiangqi/engines/search.ts";
import type { XiangqiItem } from "../../tasks/xiangqi/item.ts";
import { parseFen } from "../../tasks/xiangqi/rules/fen.ts";
import { minixiangqi } from "../../tasks/xiangqi/rules/variant.ts";
import { xiangqiTask } from "../../tasks/xiangqi/task.ts";
import { mirrorPosition, positionKey, turnPosition } from "../../tasks/xiangqi/view.ts";
import { ensureLabelFiles, labelSettings, type LabelPaths } from "./label-files.ts";

const names = ["legal", "annotated", "rl", "test"] as const;
const counts = { legal: 150, annotated: 40, rl: 30, test: 25 };

const taskOf = (settings: Readonly<Record<string, unknown>> = {}) =>
  xiangqiTask.config.parse({
    variant: "minixiangqi",
    depth: 1,
    selfPlay: { minPieces: 6, maxPieces: 12, depths: [1], maxPlies: 40 },
    ...settings,
  });
const labelsOf = (folder: string, settings: Readonly<Record<string, unknown>> = {}) =>
  labelSettings.parse({ folder, ...counts, ...settings });

let root: string;
let paths: LabelPaths;
const ensure = (folder: string, heed = (): void => undefined): Promise<LabelPaths> =>
  ensureLabelFiles(labelsOf(join(root, folder)), taskOf(), silentProgress, heed);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "alidade-labels-"));
  paths = await ensure("first");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

type Row = Readonly<Record<string, unknown>>;
const rowsOf = (path: string): Row[] =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);
const itemsOf = (path: string): XiangqiItem[] =>
  rowsOf(path).map((row, index) => xiangqiTask.rows!.read(row, `row ${index}`, taskOf()));
const positionOf = ({ fen }: XiangqiItem) => parseFen(fen, { variant: minixiangqi }).position;
const bytesOf = (files: LabelPaths): Readonly<Record<string, string>> =>
  Object.fromEntries(names.map((name) => [name, readFileSync(files[name], "utf8")]));

describe("the files", () => {
  it("have the rows that were asked for, each one right", () => {
    for (const name of names) expect(itemsOf(paths[name]), name).toHaveLength(counts[name]);
    expect(readdirSync(dirname(paths.legal)).sort()).toEqual(
      names.map((name) => `${name}.jsonl`).sort(),
    );
  });

  it("share no position, be it mirrored or with the colours exchanged", () => {
    const seen = new Map<string, string>();
    for (const name of names) {
      for (const item of itemsOf(paths[name])) {
        const position = positionOf(item);
        const placements = [position, turnPosition(position)].flatMap((one) => [
          positionKey(one),
          positionKey(mirrorPosition(one)),
        ]);
        expect(new Set(placements).size).toBe(1);
        expect(seen.get(placements[0]!), `${item.fen} of ${name}`).toBeUndefined();
        seen.set(placements[0]!, name);
        expect(splitOf(xiangqiTask, item)).toBe(name === "test" ? "test" : "train");
      }
    }
  });

  it("have moves of the side that won, and all moves of draws", () => {
    const winners = new Set<unknown>();
    for (const name of names) {
      for (const { turn, winner, played } of rowsOf(paths[name])) {
        expect(played).toEqual(expect.any(String));
        if (winner !== "draw") expect(winner).toBe(turn === "w" ? "red" : "black");
        winners.add(winner);
      }
    }
    expect(winners).toEqual(new Set(["red", "black", "draw"]));
  });

  it("say no more than their stage needs: no label, a judgement, the value of every move", () => {
    const common = ["fen", "turn", "ply", "phase", "winner", "played", "source"];
    const judgement = ["best", "value_red_cp", "situation_3", "situation_5", "engine"];
    const has = (row: Row, fields: readonly string[]): boolean =>
      fields.every((field) => field in row);
    for (const row of rowsOf(paths.legal)) {
      expect(Object.keys(row).sort()).toEqual([...common].sort());
    }
    for (const row of rowsOf(paths.annotated)) {
      expect(has(row, [...common, ...judgement])).toBe(true);
      expect(row).not.toHaveProperty("values");
    }
    for (const row of [...rowsOf(paths.rl), ...rowsOf(paths.test)]) {
      expect(has(row, [...common, ...judgement, "values"])).toBe(true);
      expect(row["engine"]).toBe("alidade-search-1, depth 1");
    }
  });

  it("are judged as the search judges", () => {
    const search = new Search(minixiangqi);
    for (const item of [...itemsOf(paths.rl), ...itemsOf(paths.annotated)]) {
      const position = positionOf(item);
      const { lines } = search.analyse(position, { depth: 1, lines: 128 });
      expect(item.best).toBe(lines[0]!.move);
      expect(item.valueRed).toBe(position.side === 0 ? lines[0]!.value : 0 - lines[0]!.value);
      if (item.values === undefined) continue;
      const values = Object.fromEntries(lines.map(({ move, value }) => [move, value]));
      expect(item.values).toEqual(values);
    }
  });

  it("have the share of balanced positions that was asked for, among those that are judged", async () => {
    const shareOf = (files: LabelPaths, name: "annotated" | "rl" | "test"): number => {
      const rows = rowsOf(files[name]);
      return rows.filter((row) => row["situation_5"] === "Balanced").length / rows.length;
    };
    expect(shareOf(paths, "annotated")).toBe(0.4);
    expect(shareOf(paths, "rl")).toBe(0.4);
    expect(shareOf(paths, "test")).toBe(0.4);
    for (const balancedShare of [0, 1]) {
      const labels = labelsOf(join(root, "shares"), { balancedShare, legal: 10, annotated: 10 });
      const files = await ensureLabelFiles(labels, taskOf(), silentProgress, () => undefined);
      expect(shareOf(files, "annotated")).toBe(balancedShare);
      expect(shareOf(files, "test")).toBe(balancedShare);
    }
  });

  it("are the same bytes for the same settings, wherever they are kept", async () => {
    const second = await ensure("second");
    expect(basename(dirname(second.rl))).toBe(basename(dirname(paths.rl)));
    expect(bytesOf(second)).toEqual(bytesOf(paths));
  });

  it("are kept: what is there is not made again", async () => {
    const kept = join(root, "kept");
    const files = await ensureLabelFiles(labelsOf(kept), taskOf(), silentProgress, () => undefined);
    for (const name of names) writeFileSync(files[name], name);
    const fail = (): never => {
      throw new Error("nothing is to be made");
    };
    const progress = { ...silentProgress, begin: fail };
    expect(await ensureLabelFiles(labelsOf(kept), taskOf(), progress, fail)).toEqual(files);
    expect(Object.values(bytesOf(files)).sort()).toEqual([...names].sort());
    // Without one of them all are made, so that they share no position.
    rmSync(files.rl);
    await ensureLabelFiles(labelsOf(kept), taskOf(), silentProgress, () => undefined);
    expect(bytesOf(files)).toEqual(bytesOf(paths));
  });

  it("have a folder of their own for whatever changes the rows, and for nothing else", async () => {
    // Nothing is made: the work stops at the first position.
    const folderOf = async (labels: object, task: object): Promise<string> => {
      const folder = mkdtempSync(join(root, "folders-"));
      const stop = (): never => {
        throw new Error("stopped");
      };
      const asked = labelsOf(folder, { ...labels });
      const made = ensureLabelFiles(asked, taskOf({ ...task }), silentProgress, stop);
      await expect(made).rejects.toThrow("stopped");
      return readdirSync(folder)[0]!;
    };
    const own = basename(dirname(paths.legal));
    expect(own).toMatch(/^minixiangqi-[0-9a-f]{16}$/);
    for (const same of [{ view: "mover" }, { prompt: "pieces" }, { target: "best" }]) {
      expect(await folderOf({}, same)).toBe(own);
    }
    const selfPlay = { minPieces: 6, maxPieces: 12, depths: [1], maxPlies: 41 };
    const others = await Promise.all([
      folderOf({ seed: 2 }, {}),
      folderOf({ legal: 151 }, {}),
      folderOf({ annotated: 41 }, {}),
      folderOf({ rl: 31 }, {}),
      folderOf({ test: 26 }, {}),
      folderOf({ balancedShare: 0.5 }, {}),
      folderOf({}, { depth: 2 }),
      folderOf({}, { variant: "xiangqi" }),
      folderOf({}, { selfPlay }),
    ]);
    expect(new Set([own, ...others]).size).toBe(10);
  });
});

describe("making them", () => {
  it("leaves nothing when it is stopped, and can be done again", async () => {
    for (const after of [1, 60, 250]) {
      let calls = 0;
      const stopped = ensure("stopped", () => {
        if (++calls === after) throw new Error("stopped here");
      });
      await expect(stopped).rejects.toThrow("stopped here");
      expect(calls).toBe(after);
      const folder = join(root, "stopped", basename(dirname(paths.legal)));
      expect(readdirSync(folder)).toEqual([]);
    }
    expect(bytesOf(await ensure("stopped"))).toEqual(bytesOf(paths));
  });

  it("does not touch the parts of another process that makes the same", async () => {
    const folder = join(root, "two", basename(dirname(paths.legal)));
    const made = await ensure("two");
    rmSync(made.legal);
    const theirs = join(folder, "legal.jsonl.0.partial");
    writeFileSync(theirs, "half a row");
    await ensure("two");
    expect(readFileSync(theirs, "utf8")).toBe("half a row");
    expect(bytesOf(made)).toEqual(bytesOf(paths));
  });

  it("lets others have their turn, and tells how far it is", async () => {
    let [turns, told] = [0, 0];
    const timer = setInterval(() => turns++, 0);
    const progress = {
      ...silentProgress,
      begin: (_label: string, total: number) => expect(total).toBe(245),
      advance: (done: number) => {
        expect(done).toBeGreaterThanOrEqual(told);
        told = done;
      },
    };
    const labels = labelsOf(join(root, "turns"));
    const files = await ensureLabelFiles(labels, taskOf(), progress, () => undefined);
    clearInterval(timer);
    expect(existsSync(files.test)).toBe(true);
    expect(told).toBeGreaterThan(0);
    expect(turns).toBeGreaterThan(0);
  });
});
