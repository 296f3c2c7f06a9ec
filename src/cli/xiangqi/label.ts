// alidade xiangqi label: game records and lists of positions as rows to train on, judged by an engine where one is asked for.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { type Command, Option } from "commander";
import { ConfigError, DataError } from "../../core/errors.ts";
import { writeJsonLines } from "../../data/write-json-lines.ts";
import { now } from "../../run/run-directory.ts";
import { curatedItems } from "../../tasks/xiangqi/curation.ts";
import {
  type Analysis,
  MATE,
  valueBefore,
  type XiangqiEngine,
} from "../../tasks/xiangqi/engines/engine.ts";
import { openExternalEngine } from "../../tasks/xiangqi/engines/external-engine.ts";
import { cachedEngine, openLabelCache } from "../../tasks/xiangqi/engines/label-cache.ts";
import { searchEngine } from "../../tasks/xiangqi/engines/search.ts";
import { readFenList } from "../../tasks/xiangqi/files/fen-list.ts";
import { readPgn, type NumberedGame } from "../../tasks/xiangqi/files/pgn.ts";
import { GOOD_LOSS, labelsOf, phaseOf, plyOf, type XiangqiItem } from "../../tasks/xiangqi/item.ts";
import { formatCoordinates, parseCoordinates } from "../../tasks/xiangqi/notation/coordinates.ts";
import { formatFen, parseFen } from "../../tasks/xiangqi/rules/fen.ts";
import { BLACK, MOST_MOVES, RED } from "../../tasks/xiangqi/rules/position.ts";
import { type Variant, variantNames, variants } from "../../tasks/xiangqi/rules/variant.ts";
import { writeRow } from "../../tasks/xiangqi/rows.ts";
import { positionKey } from "../../tasks/xiangqi/view.ts";
import { collect, type CommandContext, type CommandResult } from "../command.ts";
import { printResult, subcommand, wholeNumber } from "../command.ts";
import { TerminalProgress } from "../progress.ts";
import { splitCommandLine } from "./command-line.ts";

interface LabelOptions {
  readonly json?: boolean;
  readonly out: string;
  readonly depth?: number;
  readonly values?: boolean;
  readonly engine?: string;
  readonly protocol: "uci" | "ucci";
  readonly option?: readonly string[];
  readonly timeout: number;
  readonly cache: string;
  readonly variant: Variant["name"];
}

/** Faults told on standard error; a file of another kind has one a line. */
const SHOWN_FAULTS = 20;
/** Plies beyond which our own search takes minutes a position. */
const DEEPEST_SEARCH = 8;

/** What was read of the files: positions, and what was wrong with the rest. */
interface Gathered {
  readonly items: readonly XiangqiItem[];
  readonly games: number;
  readonly faults: readonly string[];
  /** Listed positions that were there before, mirrored or with the colours exchanged. */
  readonly repeated: number;
}

/** The side that won: as the record says, or by a last position without a legal move. */
function winnerOf({ result, start, moves }: NumberedGame, variant: Variant): XiangqiItem["winner"] {
  if (result !== "unknown") return result;
  const { position } = parseFen(start, { variant });
  for (const move of moves) position.make(move);
  if (position.legalMoves().length > 0) return "unknown";
  return position.side === BLACK ? "red" : "black";
}

async function gather(files: readonly string[], variant: Variant): Promise<Gathered> {
  const items: XiangqiItem[] = [];
  const faults: string[] = [];
  const seen = new Set<string>();
  let [games, repeated] = [0, 0];
  for (const file of files) {
    const bytes = await readBytes(file);
    if (extname(file).toLowerCase() === ".pgn") {
      const read = readPgn(bytes, { file, variant });
      for (const game of read.games) {
        const winner = winnerOf(game, variant);
        const { start, moves, comments, tags: headers, number } = game;
        const source = `${file}, game ${number}`;
        const played = { start, moves, comments, headers, winner, source };
        for (const item of curatedItems(played, variant, seen)) items.push(item);
      }
      games += read.games.length;
      for (const { message } of read.faults) faults.push(message);
      continue;
    }
    const read = readFenList(bytes, { file, variant });
    for (const { fen, line, bestMoves, scoreCp } of read.positions) {
      const { position, moveNumber } = parseFen(fen, { variant });
      const key = positionKey(position);
      if (position.legalMoves().length === 0) {
        faults.push(`${file}, line ${line}: expected a position with a legal move, got ${fen}`);
        continue;
      }
      if (seen.has(key)) {
        repeated++;
        continue;
      }
      seen.add(key);
      const ply = plyOf(moveNumber, position.side);
      const best = bestMoves[0];
      items.push({
        fen,
        ply,
        phase: phaseOf(ply),
        winner: "unknown",
        source: `${file}, line ${line}`,
        ...(best !== undefined && { best: formatCoordinates(best, variant) }),
        ...(scoreCp !== null && { valueRed: position.side === RED ? scoreCp : -scoreCp }),
      });
    }
    for (const { message } of read.faults) faults.push(message);
  }
  return { items, games, faults, repeated };
}

async function readBytes(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (cause) {
    const got = (cause as Error).message;
    throw new DataError({ where: file, expected: "a file that can be read", got, cause });
  }
}

function parseOptions(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
      throw new ConfigError({ where: "--option", expected: "NAME=VALUE", got: pair });
    }),
  );
}

async function openEngine(options: LabelOptions, variant: Variant): Promise<XiangqiEngine> {
  if (options.engine === undefined) return searchEngine(variant);
  return openExternalEngine({
    command: splitCommandLine(options.engine),
    protocol: options.protocol,
    variant,
    options: parseOptions(options.option ?? []),
    timeoutMs: options.timeout * 1000,
  });
}

async function label(
  context: CommandContext,
  files: readonly string[],
  options: LabelOptions,
): Promise<CommandResult> {
  const { out, depth, values } = options;
  const refuse = (where: string, expected: string, got: string): ConfigError =>
    new ConfigError({ where, expected, got });
  if (!out.endsWith(".jsonl")) throw refuse(out, "a path that ends in .jsonl", "another ending");
  if (existsSync(out)) throw refuse(out, "a path that does not exist yet", "one that does");
  if (depth === undefined && (options.engine !== undefined || values === true)) {
    throw refuse("--engine and --values", "--depth, how far to look ahead", "none");
  }
  const variant = variants[options.variant];
  if (options.engine === undefined && (options.option ?? []).length > 0) {
    throw refuse("--option", "--engine, the program to set it in", "none");
  }
  if (options.engine === undefined && (depth ?? 0) > DEEPEST_SEARCH) {
    throw refuse("--depth", `at most ${DEEPEST_SEARCH} with our own search`, String(depth));
  }
  const { items, games, faults, repeated } = await gather(files, variant);
  for (const fault of faults.slice(0, SHOWN_FAULTS)) context.stderr.write(`left out: ${fault}\n`);
  if (faults.length > SHOWN_FAULTS) {
    context.stderr.write(`left out: ${faults.length - SHOWN_FAULTS} more; --json lists all\n`);
  }
  if (items.length === 0) throw refuse(files.join(", "), "a position with a legal move", "none");
  const progress = new TerminalProgress(context.stderr, now);
  let [hits, misses] = [0, 0];

  async function* rows(): AsyncGenerator {
    if (depth === undefined) {
      for (const item of items) yield writeRow(item, variant);
      return;
    }
    const cache = await openLabelCache(options.cache);
    const known = cache.size;
    const engine = await openEngine(options, variant);
    const judge = cachedEngine(engine, cache);
    /** What the move of the game is worth: the position behind it, a ply less deep. */
    const playedLabels = async (
      item: XiangqiItem,
      root: Analysis,
    ): Promise<Partial<XiangqiItem>> => {
      if (item.played === undefined) return {};
      const { position } = parseFen(item.fen, { variant });
      const sign = position.side === RED ? 1 : -1;
      const best = root.lines[0]!;
      // What a shallower search says of the best move must not make it a worse one.
      if (item.played === best.move) return { isGood: true, playedValueRed: sign * best.value };
      position.make(parseCoordinates(item.played, variant)!);
      const limits = { depth: Math.max(1, depth - 1) };
      const behind = (await judge.analyse(formatFen(position), limits)).lines[0];
      // A mate behind the move is a ply further away from here; no move behind it is a mate by it.
      const value = behind === undefined ? MATE - 1 : valueBefore(behind.value);
      const isGood = best.value - value <= GOOD_LOSS;
      return { playedValueRed: sign * value, isGood };
    };
    progress.begin("labels", items.length);
    try {
      for (const [index, item] of items.entries()) {
        const { position } = parseFen(item.fen, { variant });
        const lines = values === true ? MOST_MOVES : 1;
        const analysis = await judge.analyse(item.fen, { depth, lines });
        const { values: all, ...labels } = labelsOf(position, analysis, engine.id);
        const more = values === true ? { values: all } : await playedLabels(item, analysis);
        yield writeRow({ ...item, ...labels, ...more }, variant);
        progress.advance(index + 1, `${cache.hits} known before`);
      }
    } catch (error) {
      const hint = `${cache.size - known} new labels are kept in ${options.cache}; the same command goes on from there`;
      context.stderr.write(`alidade: ${hint}\n`);
      throw error;
    } finally {
      progress.end();
      [hits, misses] = [cache.hits, cache.size - known];
      await engine.close();
      await cache.close();
    }
  }

  const count = await writeJsonLines(out, rows());
  const facts = [
    `${count} rows written to ${out}`,
    ...(games > 0 ? [`from ${games} games`] : []),
    ...(repeated > 0 ? [`${repeated} repeated positions left out`] : []),
    ...(depth === undefined ? [] : [`${misses} new labels, ${hits} known before`]),
    ...(faults.length > 0 ? [`${faults.length} faults, named above`] : []),
  ];
  return {
    json: { out, rows: count, games, faults, repeated, hits, misses },
    text: facts.join("; "),
  };
}

export function registerLabel(group: Command, context: CommandContext): void {
  subcommand(
    group,
    "label <files...>",
    "game records (.pgn) and lists of positions as rows for training",
    "alidade xiangqi label games.pgn --out rows.jsonl --depth 12 --engine pikafish",
  )
    .requiredOption("--out <file>", "new .jsonl file of rows, for data.sft, data.sft2, …")
    .option("--depth <number>", "judge every position, looking so many plies ahead", wholeNumber(1))
    .option("--values", "also the value of every legal move, as GRPO and the test need them")
    .option("--engine <command>", "program that judges (default: our own search)")
    .addOption(
      new Option("--protocol <name>", "what it speaks").choices(["uci", "ucci"]).default("uci"),
    )
    .option("--option <name=value>", "option of the program (repeatable)", collect)
    .option("--timeout <seconds>", "longest time for a position", wholeNumber(1), 60)
    .option("--cache <file>", "where labels are kept", "data/xiangqi/labels.jsonl")
    .addOption(new Option("--variant <name>", "board").choices(variantNames).default("xiangqi"))
    .action(async (files: string[], options: LabelOptions) =>
      printResult(context, options, await label(context, files, options)),
    );
}
