// Our Xiangqi board and search beside Fairy-Stockfish (Debian package fairy-stockfish), one thread each. Prints the table of
// src/systems/xiangqi-r1/README.md; about five minutes:
//
//   npm run build && npx tsx bench/peers/xiangqi-board.ts [fairy-stockfish]
//
// Leaf counts: the engine's `go perft` only counts the moves of the last ply, ours makes them; without that it would be slower.

import { spawn } from "node:child_process";
import { cpus } from "node:os";
import { wilsonInterval } from "../../src/core/statistics.ts";
import { randomStream } from "../../src/core/random.ts";
import { selfPlaySettings } from "../../src/tasks/xiangqi/config.ts";
import { openExternalEngine } from "../../src/tasks/xiangqi/engines/external-engine.ts";
import { Search } from "../../src/tasks/xiangqi/engines/search.ts";
import { parseCoordinates } from "../../src/tasks/xiangqi/notation/coordinates.ts";
import { formatFen, parseFen } from "../../src/tasks/xiangqi/rules/fen.ts";
import { Game } from "../../src/tasks/xiangqi/rules/game.ts";
import { perft } from "../../src/tasks/xiangqi/rules/perft.ts";
import { type Position } from "../../src/tasks/xiangqi/rules/position.ts";
import { xiangqi } from "../../src/tasks/xiangqi/rules/variant.ts";
import { playGame, randomPosition } from "../../src/tasks/xiangqi/self-play.ts";
import { coarse, situationOf } from "../../src/tasks/xiangqi/situation.ts";

const program = process.argv[2] ?? "/usr/games/fairy-stockfish";
const DEPTH = 5;
const LEAVES = 133_312_995;
const ROUNDS = 3;
const selfPlay = selfPlaySettings.parse({});

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

/** Leaves a second of `go perft`, from the command to the last line. */
async function theirLeavesPerSecond(): Promise<number> {
  const child = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
  let [text, startMs] = ["", 0];
  const done = new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", () => reject(new Error(`${program} ended early`)));
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (startMs === 0 && text.includes("readyok")) {
        startMs = performance.now();
        child.stdin.write(`position startpos\ngo perft ${DEPTH}\n`);
      }
      if (text.includes(`Nodes searched: ${LEAVES}`)) resolve(performance.now() - startMs);
    });
  });
  child.stdin.write("uci\nsetoption name UCI_Variant value xiangqi\nisready\n");
  const elapsedMs = await done;
  child.kill();
  return (1000 * LEAVES) / elapsedMs;
}

function ourLeavesPerSecond(): number {
  const { position } = parseFen(xiangqi.start);
  const startMs = performance.now();
  if (perft(position, DEPTH) !== LEAVES) throw new Error("perft: expected the known count");
  return (1000 * LEAVES) / (performance.now() - startMs);
}

/** Half from games from the start (20 to 70 plies), half from random positions with few pieces. */
function* testPositions(search: Search): Generator<Position> {
  for (let index = 0; ; index++) {
    const random = randomStream("board bench", index);
    const isFull = index % 2 === 0;
    const start = isFull
      ? parseFen(xiangqi.start).position
      : randomPosition(random, xiangqi, selfPlay);
    const plies = isFull ? 20 + random.integer(50) : random.integer(50);
    const { moves } = playGame(search, start, random, { ...selfPlay, maxPlies: plies });
    const position = start.copy();
    for (const move of moves) position.make(move);
    if (position.legalMoves().length > 0) yield position.copy();
  }
}

function strength(search: Search, games: number): number {
  let points = 0;
  for (let index = 0; index < games; index++) {
    const random = randomStream("board bench opening", index >> 1);
    const game = new Game(xiangqi.start);
    for (let ply = 0; ply < 8; ply++) game.play(random.pick(game.legalMoves()));
    const deep = index % 2;
    while (game.end() === null && game.moves.length < 300) {
      const depth = game.side === deep ? 4 : 1;
      const [line] = search.analyse(game.position, { depth }).lines;
      game.play(parseCoordinates(line!.move)!);
    }
    const winner = game.end()?.winner ?? null;
    points += Number(winner === deep);
  }
  return points;
}

const rows: string[][] = [];
const share = (count: number, total: number): string => {
  const { low, high } = wilsonInterval(count, total);
  const [a, b, c] = [count / total, low, high].map((value) => (100 * value).toFixed(1));
  return `${a} % [${b}, ${c}], n ${total}`;
};

ourLeavesPerSecond(); // warms the compiler up
const speeds = { ours: [] as number[], theirs: [] as number[] };
for (let round = 0; round < ROUNDS; round++) {
  speeds.theirs.push(await theirLeavesPerSecond());
  speeds.ours.push(ourLeavesPerSecond());
}
const ratios = speeds.ours.map((ours, round) => ours / speeds.theirs[round]!);
const millions = (values: readonly number[]): string => (median(values) / 1e6).toFixed(1);
rows.push([
  `perft ${DEPTH} from the start, ours / Fairy-Stockfish`,
  ">= 0.15",
  `${median(ratios).toFixed(2)} (${ratios.map((one) => one.toFixed(2)).join(", ")}); ${millions(speeds.ours)} and ${millions(speeds.theirs)} million leaves a second`,
]);

const search = new Search();
const engine = await openExternalEngine({ command: [program], protocol: "uci", timeoutMs: 60_000 });
let [count, agreed, elapsedMs, middlegames] = [0, 0, 0, 0];
for (const position of testPositions(new Search())) {
  const fen = formatFen(position);
  const startMs = performance.now();
  const [ours] = search.analyse(position, { depth: 4 }).lines;
  if (position.board.filter((piece) => piece !== 0).length > 14) {
    elapsedMs += performance.now() - startMs;
    middlegames++;
  }
  const [theirs] = (await engine.analyse(fen, { depth: 10 })).lines;
  const [a, b] = [ours, theirs].map((line) =>
    coarse(situationOf(position.side === 0 ? line!.value : -line!.value)),
  );
  agreed += Number(a === b);
  if (++count === 300) break;
}
await engine.close();
rows.push([
  `situation in three classes, depth 4, as ${engine.id} at depth 10`,
  ">= 80 %",
  share(agreed, count),
]);
rows.push([
  "a label at depth 4, positions of games with more than 14 pieces",
  "< 0.3 s",
  `${(elapsedMs / middlegames / 1000).toFixed(3)} s, n ${middlegames}`,
]);
const games = 40;
rows.push([
  "depth 4 against depth 1, games won from random openings",
  ">= 90 %",
  share(strength(search, games), games),
]);

const table = [["what", "required", "measured"], ["---", "---", "---"], ...rows];
process.stdout.write(
  `${table.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n\n${cpus()[0]!.model}, Node ${process.versions.node}\n`,
);
