// The data of a run without game records: our search plays itself and judges positions. Written once as JSONL rows, in the form in
// which published rows are read, and kept: another run with the same settings finds them.
//
// Stage 1 gets moves of the side that won, and all moves of draws (the paper's curation); stage 2 the same with a judgement; GRPO
// and the test the value of every legal move, so that a reward costs a look into a table. A position is in one file only, as are
// its mirror image and the same position with the colours exchanged.

import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ConfigError } from "../../core/errors.ts";
import type { Progress } from "../../core/progress.ts";
import { hashKey, randomStream } from "../../core/random.ts";
import { splitOf } from "../../rollout/items.ts";
import type { XiangqiConfig } from "../../tasks/xiangqi/config.ts";
import { curatedItems, type PlayedItem } from "../../tasks/xiangqi/curation.ts";
import { Search, searchId } from "../../tasks/xiangqi/engines/search.ts";
import { labelsOf, variantOf, type XiangqiItem } from "../../tasks/xiangqi/item.ts";
import { parseFen } from "../../tasks/xiangqi/rules/fen.ts";
import { writeRow } from "../../tasks/xiangqi/rows.ts";
import { playGame, randomPosition } from "../../tasks/xiangqi/self-play.ts";
import { xiangqiTask } from "../../tasks/xiangqi/task.ts";

export const labelSettings = z.object({
  make: z
    .boolean()
    .default(true)
    .describe("make rows by self-play where `data` names no files; false: refuse the run"),
  folder: z.string().default("data/xiangqi").describe("where the files are kept"),
  seed: z.int().min(0).default(1).describe("of games and positions; not that of the run"),
  legal: z.int().min(1).default(60_000).describe("rows of stage 1: a position and the move played"),
  annotated: z.int().min(1).default(8_000).describe("rows of stage 2: with situation and analysis"),
  rl: z.int().min(1).default(2_000).describe("rows of GRPO, with the value of every move"),
  test: z.int().min(1).default(2_000).describe("rows of the evaluation, likewise"),
  balancedShare: z
    .number()
    .min(0)
    .max(1)
    .default(0.4)
    .describe("share of balanced positions among those that are judged"),
});
export type LabelSettings = z.output<typeof labelSettings>;

const files = ["legal", "annotated", "rl", "test"] as const;
type FileName = (typeof files)[number];
export type LabelPaths = Readonly<Record<FileName, string>>;

/** Changes with whatever changes the rows, but for the search, whose id is asked. */
const VERSION = 5;

/** Games played, and positions seen, without one more that is wanted, before the wish is given up. */
const PATIENCE = { games: 2_000, positions: 50_000 };

function folderOf(labels: LabelSettings, task: XiangqiConfig): string {
  const { folder, make: _make, ...rest } = labels;
  const { variant, depth, selfPlay } = task;
  const [a, b] = hashKey([JSON.stringify([VERSION, searchId, rest, variant, depth, selfPlay])]);
  return join(
    folder,
    `${variant}-${a.toString(16).padStart(8, "0")}${b.toString(16).padStart(8, "0")}`,
  );
}

/** One line at a time to a file that gets its name when it is whole. */
class RowFile {
  readonly #path: string;
  readonly #partial: string;
  readonly #file: number;
  rows = 0;

  constructor(path: string) {
    this.#path = path;
    // Two runs that begin together make the same files: neither may write into what the other one renames.
    this.#partial = `${path}.${process.pid}.partial`;
    this.#file = openSync(this.#partial, "w");
  }

  write(row: unknown): void {
    this.rows++;
    writeFileSync(this.#file, `${JSON.stringify(row)}\n`);
  }

  finish(): void {
    closeSync(this.#file);
    renameSync(this.#partial, this.#path);
  }

  discard(): void {
    closeSync(this.#file);
    rmSync(this.#partial);
  }
}

/** Positions of self-played games without end; none twice. null: a game is over. */
function* selfPlayedItems(
  labels: LabelSettings,
  task: XiangqiConfig,
  search: Search,
): Generator<PlayedItem | null> {
  const variant = variantOf(task);
  const seen = new Set<string>();
  for (let index = 0; ; index++) {
    const random = randomStream(labels.seed, "xiangqi game", index);
    const start = randomPosition(random, variant, task.selfPlay);
    const game = playGame(search, start, random, task.selfPlay);
    const source = `self-play at ${task.selfPlay.depths.join(" or ")} plies, game ${index}`;
    yield* curatedItems({ ...game, source }, variant, seen);
    yield null;
  }
}

/** Draws until `share` of what was taken is balanced: says whether one more of its kind is welcome. */
class Quota {
  readonly #left: [number, number];

  constructor(count: number, balancedShare: number) {
    const balanced = Math.round(count * balancedShare);
    this.#left = [count - balanced, balanced];
  }

  get isFull(): boolean {
    return this.#left[0] + this.#left[1] === 0;
  }

  take(isBalanced: boolean): boolean {
    const kind = isBalanced ? 1 : 0;
    if (this.#left[kind] === 0) return false;
    this.#left[kind]--;
    return true;
  }
}

/** The files of these settings; makes those that are missing. `heed` throws when the work is to stop. */
export async function ensureLabelFiles(
  labels: LabelSettings,
  task: XiangqiConfig,
  progress: Progress,
  heed: () => void,
): Promise<LabelPaths> {
  const folder = folderOf(labels, task);
  const paths = Object.fromEntries(
    files.map((name) => [name, join(folder, `${name}.jsonl`)]),
  ) as LabelPaths;
  if (files.every((name) => existsSync(paths[name]))) return paths;
  mkdirSync(folder, { recursive: true });
  const variant = variantOf(task);
  const search = new Search(variant);
  const out = new Map(files.map((name) => [name, new RowFile(paths[name])]));
  const { annotated, rl, test, balancedShare } = labels;
  const quotas = {
    test: new Quota(test, balancedShare),
    rl: new Quota(rl, balancedShare),
    annotated: new Quota(annotated, balancedShare),
  };
  const total = labels.legal + annotated + rl + test;
  progress.begin("labels", total);
  /** The judged file that still wants a position of this split, in the order of their worth. */
  const judgedFile = (split: "train" | "test"): "test" | "rl" | "annotated" | null => {
    if (split === "test") return quotas.test.isFull ? null : "test";
    if (!quotas.rl.isFull) return "rl";
    return quotas.annotated.isFull ? null : "annotated";
  };
  let [done, games, positions] = [0, 0, 0];
  try {
    for (const item of selfPlayedItems(labels, task, search)) {
      heed();
      if (games > PATIENCE.games || positions > PATIENCE.positions) {
        throw new ConfigError({
          where: "labels",
          expected: `${total} positions, ${balancedShare * 100} % of the judged ones balanced`,
          got: `${done}, and no other in ${games} more games`,
          hint: "ask for fewer, or for another share",
        });
      }
      if (item === null) {
        games++;
        progress.advance(done, folder);
        await new Promise(setImmediate); // Ctrl-C is heard
        continue;
      }
      const isTest = splitOf(xiangqiTask, item) === "test";
      const name = judgedFile(isTest ? "test" : "train");
      let isTaken = false;
      if (name !== null) {
        const { position } = parseFen(item.fen, { variant });
        const analysis = search.analyse(position, { depth: task.depth, lines: 128 });
        const judged: XiangqiItem = { ...item, ...labelsOf(position, analysis, searchId) };
        if (quotas[name].take(judged.situation5 === "Balanced")) {
          const { values: _values, ...shown } = judged;
          out.get(name)!.write(writeRow(name === "annotated" ? shown : judged, variant));
          isTaken = true;
        }
      }
      const legal = out.get("legal")!;
      if (!isTaken && !isTest && legal.rows < labels.legal) {
        legal.write(writeRow(item, variant));
        isTaken = true;
      }
      positions++;
      if (!isTaken) continue;
      [games, positions] = [0, 0];
      if (++done === total) break;
    }
  } catch (error) {
    for (const file of out.values()) file.discard();
    throw error;
  }
  for (const file of out.values()) file.finish();
  progress.end();
  return paths;
}
