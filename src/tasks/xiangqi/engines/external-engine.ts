// An engine that is a program of its own and speaks UCI or UCCI: Pikafish, Fairy-Stockfish, ElephantEye.
//
// What it says is not trusted: positions are checked before it sees them, its moves before they count. When it ends, hangs or
// prints nonsense it is started anew for the same position, and when that does not help there is an EngineError: never a value of 0.
//
// Engines number ranks from 0 (Pikafish, UCCI) or from 1 (Fairy-Stockfish in UCI). Names do not tell it for sure, the start
// position does: no move is legal there in both numberings, in either variant. So every engine is asked for one move of it first.

import { ConfigError, EngineError } from "../../../core/errors.ts";
import type { FirstRank } from "../notation/coordinates.ts";
import { parseFen } from "../rules/fen.ts";
import { MOST_MOVES, type Position } from "../rules/position.ts";
import { type Variant, xiangqi } from "../rules/variant.ts";
import type { Analysis, AnalysisLimits, XiangqiEngine } from "./engine.ts";
import type { EngineProtocol } from "./engine-protocol.ts";
import {
  EngineSession,
  isStopped,
  type SessionOptions,
  type StoppedSearch,
} from "./engine-session.ts";
import { analysePosition, ranksThatFit, readMove } from "./position-analysis.ts";
import { ucci } from "./ucci.ts";
import { uci } from "./uci.ts";

const protocols: Readonly<Record<EngineProtocol["name"], EngineProtocol>> = { uci, ucci };

export interface ExternalEngineOptions {
  /** The program and its arguments; no shell reads them. */
  readonly command: readonly string[];
  readonly protocol: "uci" | "ucci";
  /** Default: Xiangqi. */
  readonly variant?: Variant;
  /**
   * By the names that the engine gives them, for example `{ Hash: "256" }`; "" presses a button. Unless set
   * here, opening books are off, since their moves have no values, and so is contempt, which bends values.
   */
  readonly options?: Readonly<Record<string, string>>;
  /** How the engine numbers ranks. Default: "auto", as its answer in the start position shows. */
  readonly firstRank?: FirstRank | "auto";
  /** Centipawns of 1 in a UCCI score that has no unit. Default: 4.25 (see ucci.ts). */
  readonly centipawnsPerPoint?: number;
  /** Of one search; one of `lines` moves without MultiPV is as many searches as there are legal moves. */
  readonly timeoutMs: number;
  /** Until the started program is ready. Default: 10,000. */
  readonly startTimeoutMs?: number;
  /** From `stop` or `quit` until the program is killed. Default: 1,000. */
  readonly graceMs?: number;
  /** How often an engine that failed is started anew for one position. Default: 2. */
  readonly restarts?: number;
}

/** Node's timers take no longer time. */
const LONGEST_MS = 2 ** 31 - 1;

function checkWhole(where: string, name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  const expected = `${name}, a whole number from ${least} to ${most}`;
  throw new ConfigError({ where, expected, got: String(value) });
}

function checkOptions(options: ExternalEngineOptions): void {
  const where = "openExternalEngine";
  const { command, protocol, centipawnsPerPoint, restarts = 0 } = options;
  if ((command[0] ?? "") === "") {
    throw new ConfigError({ where, expected: "a command", got: JSON.stringify(command) });
  }
  const { timeoutMs, startTimeoutMs = 1, graceMs = 1 } = options;
  for (const [name, value] of Object.entries({ timeoutMs, startTimeoutMs, graceMs })) {
    checkWhole(where, name, value, 1, LONGEST_MS);
  }
  checkWhole(where, "restarts", restarts, 0, 1_000);
  if (centipawnsPerPoint === undefined) return;
  if (protocol === "uci" || !(centipawnsPerPoint > 0 && centipawnsPerPoint < Infinity)) {
    const expected = "centipawnsPerPoint above 0, for ucci only";
    throw new ConfigError({ where, expected, got: `${centipawnsPerPoint} for ${protocol}` });
  }
}

const START_DEPTH = 1;

/** How the engine numbers ranks, seen in its move of the start position. Throws an EngineError when it cannot be as asked. */
async function findFirstRank(
  session: EngineSession,
  variant: Variant,
  asked: FirstRank | "auto",
): Promise<FirstRank> {
  const where = `${session.name}, start position`;
  const { position } = parseFen(variant.start, { variant });
  const search = { where, fen: variant.start, depth: START_DEPTH, lines: 1 };
  const result = await session.search(search);
  if (isStopped(result)) {
    const expected = `a move at depth ${START_DEPTH} in time`;
    throw new EngineError({ where, expected, got: "none before stop" });
  }
  const { bestMove, text } = result;
  const refuse = (expected: string, hint?: string): Error =>
    session.refuse(where, expected, text, hint);
  if (bestMove === null) throw refuse("a move");
  const [found] = ranksThatFit(bestMove, position);
  if (asked === "auto" && found !== undefined) return found;
  readMove(bestMove, position, asked === "auto" ? 0 : asked, refuse);
  return found!;
}

class ExternalEngine implements XiangqiEngine {
  readonly id: string;
  readonly variant: Variant;
  readonly #setup: SessionOptions;
  /** Begins the messages of errors. */
  readonly #where: string;
  readonly #restarts: number;
  readonly #firstRank: FirstRank;
  #session: EngineSession | null;
  #isClosed = false;
  /** Settled when the last analysis asked for is done; it never fails. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(
    session: EngineSession,
    setup: SessionOptions,
    restarts: number,
    firstRank: FirstRank,
  ) {
    this.id = session.id;
    this.variant = setup.variant;
    this.#session = session;
    this.#setup = setup;
    this.#where = session.name;
    this.#restarts = restarts;
    this.#firstRank = firstRank;
  }

  async analyse(fen: string, { depth, lines = 1 }: AnalysisLimits): Promise<Analysis> {
    const where = "analyse";
    checkWhole(where, "depth", depth, 1, 1_000);
    checkWhole(where, "lines", lines, 1, MOST_MOVES);
    const { position, moveNumber } = parseFen(fen, { variant: this.variant });
    const count = Math.min(lines, position.legalMoves().length);
    if (count === 0) return { depth: 0, lines: [] };
    const analysis = this.#queue.then(async () =>
      this.#analyse(fen, position, moveNumber, { depth, lines: count }),
    );
    this.#queue = analysis.catch(() => undefined);
    return analysis;
  }

  async #analyse(
    fen: string,
    position: Position,
    moveNumber: number,
    limits: Required<AnalysisLimits>,
  ): Promise<Analysis> {
    for (let attempt = 0; ; attempt++) {
      const again = attempt === 0 ? "" : `, restart ${attempt} of ${this.#restarts}`;
      const where = `${this.#where}, FEN ${JSON.stringify(fen)}${again}`;
      let result: Analysis | StoppedSearch;
      try {
        const session = await this.#running(where);
        const firstRank = this.#firstRank;
        result = await analysePosition({
          session,
          position,
          moveNumber,
          ...limits,
          firstRank,
          where,
        });
      } catch (error) {
        await this.#drop();
        const isLast = this.#isClosed || attempt >= this.#restarts;
        if (isLast || !(error instanceof EngineError)) throw error;
        continue;
      }
      if (!isStopped(result)) return result;
      // Not tried again: it would take as long. Nor is the shallower result kept, which another machine would not give.
      const expected = `depth ${limits.depth} within ${this.#setup.timeoutMs} ms`;
      const got = `depth ${result.stoppedAtDepth} by then`;
      throw new EngineError({ where, expected, got, hint: "raise timeoutMs or ask for less" });
    }
  }

  /** The running program, started if need be. */
  async #running(where: string): Promise<EngineSession> {
    const checkOpen = (): void => {
      if (!this.#isClosed) return;
      throw new EngineError({ where, expected: "an open engine", got: "one that was closed" });
    };
    checkOpen();
    if (this.#session !== null) return this.#session;
    this.#session = await EngineSession.open(this.#setup);
    checkOpen();
    if (this.#session.id === this.id) return this.#session;
    throw new EngineError({ where, expected: this.id, got: this.#session.id });
  }

  /** Ends a program that cannot be trusted any more. */
  async #drop(): Promise<void> {
    const session = this.#session;
    this.#session = null;
    await session?.kill();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const session = this.#session;
    this.#session = null;
    await session?.close();
    await this.#queue;
  }
}

/**
 * Starts an engine and sets it up. The engine answers one question after the other; `close` ends it.
 * @throws EngineError when it does not start or is not what it should be, ConfigError for options that it does not have or take.
 */
export async function openExternalEngine(options: ExternalEngineOptions): Promise<XiangqiEngine> {
  checkOptions(options);
  const protocol = protocols[options.protocol];
  const { centipawnsPerPoint = protocol.centipawnsPerPoint } = options;
  const setup: SessionOptions = {
    command: options.command,
    protocol,
    variant: options.variant ?? xiangqi,
    options: options.options ?? {},
    scale: { centipawnsPerPoint, pointsOfMate: protocol.pointsOfMate },
    startTimeoutMs: options.startTimeoutMs ?? 10_000,
    timeoutMs: options.timeoutMs,
    graceMs: options.graceMs ?? 1_000,
  };
  const session = await EngineSession.open(setup);
  try {
    const firstRank = await findFirstRank(session, setup.variant, options.firstRank ?? "auto");
    return new ExternalEngine(session, setup, options.restarts ?? 2, firstRank);
  } catch (error) {
    await session.kill();
    throw error;
  }
}
