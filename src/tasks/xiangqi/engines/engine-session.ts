// A running engine that has said what it is, has been set up, and searches positions: what both protocols have in common.

import { basename } from "node:path";
import { ConfigError } from "../../../core/errors.ts";
import type { Variant } from "../rules/variant.ts";
import { checkOption, type EngineOption, findOption, parseOption } from "./engine-option.ts";
import { EngineProcess, quoted } from "./engine-process.ts";
import type { EngineProtocol } from "./engine-protocol.ts";
import {
  parseBestMove,
  parseInfo,
  type Refuse,
  type Scale,
  type SearchLine,
  SearchReport,
} from "./search-report.ts";

export interface SessionOptions {
  readonly command: readonly string[];
  readonly protocol: EngineProtocol;
  readonly variant: Variant;
  readonly options: Readonly<Record<string, string>>;
  readonly scale: Scale;
  /** Until the program has answered to its protocol, and whenever it is asked whether it is ready. */
  readonly startTimeoutMs: number;
  /** Of one search. */
  readonly timeoutMs: number;
  /** From `stop` or `quit` until the program is killed. */
  readonly graceMs: number;
}

export interface Search {
  /** Begins the message of an error. */
  readonly where: string;
  readonly fen: string;
  readonly depth: number;
  /** How many of the best moves; at most `mostLines` of the session. */
  readonly lines: number;
}

export interface SearchResult {
  /** Of the last complete depth, the best first; null: the engine gave none. */
  readonly lines: readonly SearchLine[] | null;
  /** As the engine writes it; null: it has none. */
  readonly bestMove: string | null;
  /** The line that says the best move. */
  readonly text: string;
}

/** A search that took too long and ended when it was told to. */
export interface StoppedSearch {
  /** Of the last complete depth; 0: none was. */
  readonly stoppedAtDepth: number;
}

export const isStopped = (result: object): result is StoppedSearch => "stoppedAtDepth" in result;

interface Introduction {
  readonly name: string;
  readonly options: readonly EngineOption[];
}

/** Collects what an engine says of itself. */
class IntroductionReader {
  readonly #protocol: EngineProtocol;
  readonly #options: EngineOption[] = [];
  #name: string | null = null;
  #version = "";

  constructor(protocol: EngineProtocol) {
    this.#protocol = protocol;
  }

  read(line: string): Introduction | undefined {
    const { helloAnswer, optionPrefix } = this.#protocol;
    const text = line.trim();
    if (text.startsWith("id name ")) this.#name = text.slice(8).trim();
    // ElephantEye says it in a line of its own.
    else if (text.startsWith("id version ")) this.#version = ` ${text.slice(11).trim()}`;
    else if (text.startsWith(optionPrefix)) {
      const option = parseOption(text.slice(optionPrefix.length));
      if (option !== null) this.#options.push(option);
    }
    if (text !== helloAnswer) return undefined;
    return { name: `${this.#name ?? ""}${this.#version}`.trim(), options: this.#options };
  }
}

const variantOption = "UCI_Variant";
const linesOption = "MultiPV";
const contemptOption = "Contempt";

/** What to set, in the order of names. Throws a ConfigError for what the engine does not have or take. */
function settings(
  where: string,
  { options, protocol, variant }: SessionOptions,
  known: readonly EngineOption[],
): readonly (readonly [option: EngineOption, value: string])[] {
  const wanted = new Map<string, readonly [EngineOption, string]>();
  const want = (name: string, value: string): void => {
    const option = checkOption(where, known, name, value);
    wanted.set(option.name, [option, value]);
  };
  if (findOption(known, protocol.bookOption) !== undefined) want(protocol.bookOption, "false");
  // A side that shuns draws sees itself better than it is, and the other side does likewise.
  if (findOption(known, contemptOption) !== undefined) want(contemptOption, "0");
  for (const [name, value] of Object.entries(options)) {
    const own = [variantOption, linesOption].find(
      (one) => one.toLowerCase() === name.toLowerCase(),
    );
    if (own !== undefined) {
      const expected = `no option ${own}`;
      const hint = own === variantOption ? "give the variant" : "give lines to analyse()";
      throw new ConfigError({ where, expected, got: JSON.stringify(value), hint });
    }
    want(name, value);
  }
  const choice = findOption(known, variantOption);
  if (choice === undefined && variant.name !== "xiangqi") {
    const expected = `an engine with the option ${variantOption}, for ${variant.name}`;
    throw new ConfigError({ where, expected, got: "none" });
  }
  if (choice !== undefined && !choice.values.includes(variant.name)) {
    const expected = `an engine that plays ${variant.name}`;
    const hint = "Fairy-Stockfish has to be built for large boards";
    const got = `${variantOption} without it`;
    throw new ConfigError({ where, expected, got, hint });
  }
  if (choice !== undefined) want(variantOption, variant.name);
  return [...wanted.values()].sort(([a], [b]) => (a.name < b.name ? -1 : 1));
}

export class EngineSession {
  /** The command, for messages. */
  readonly name: string;
  /** Name, version, protocol and what was set. */
  readonly id: string;
  /** How many of the best moves one search can give. */
  readonly mostLines: number;
  readonly #process: EngineProcess;
  readonly #setup: SessionOptions;
  readonly #options: readonly EngineOption[];
  /** What MultiPV stands at. */
  #lines = 1;

  /**
   * Starts the program and sets it up.
   * @throws EngineError when it does not start or does not speak the protocol, ConfigError for options it does not take.
   */
  static async open(setup: SessionOptions): Promise<EngineSession> {
    const process = new EngineProcess(setup.command);
    try {
      return await EngineSession.#greet(process, setup);
    } catch (error) {
      await process.kill();
      throw error;
    }
  }

  static async #greet(process: EngineProcess, setup: SessionOptions): Promise<EngineSession> {
    const { protocol, startTimeoutMs: timeoutMs } = setup;
    const where = process.name;
    const expected = `${protocol.helloAnswer} within ${timeoutMs} ms`;
    const reader = new IntroductionReader(protocol);
    const introduction = await process.ask({
      lines: [protocol.hello],
      where,
      expected,
      timeoutMs,
      read: (line) => reader.read(line),
    });
    if (introduction === null) {
      const hint = `does it speak ${protocol.name}?`;
      throw process.fault({ where, expected, got: "none", hint });
    }
    const set = settings(where, setup, introduction.options);
    const session = new EngineSession(process, setup, introduction, set);
    await session.#ready(
      where,
      set.map(([option, value]) => protocol.setOption(option, value)),
    );
    return session;
  }

  private constructor(
    process: EngineProcess,
    setup: SessionOptions,
    introduction: Introduction,
    set: readonly (readonly [option: EngineOption, value: string])[],
  ) {
    const { protocol, scale, command } = setup;
    const { name, options } = introduction;
    this.name = process.name;
    this.#process = process;
    this.#setup = setup;
    this.#options = options;
    const lines = findOption(options, linesOption);
    this.mostLines = lines?.type === "spin" ? (lines.max ?? 1) : 1;
    const isRescaled = scale.centipawnsPerPoint !== protocol.centipawnsPerPoint;
    const details = [
      ...set.map(([option, value]) => `${option.name}=${value}`),
      ...(isRescaled ? [`centipawnsPerPoint=${scale.centipawnsPerPoint}`] : []),
    ];
    this.id = [name === "" ? basename(command[0]!) : name, protocol.name, ...details].join("; ");
  }

  #refuse(where: string): Refuse {
    return (expected, line, hint) =>
      this.#process.fault({ where, expected, got: quoted(line), hint });
  }

  /** Makes an error of a line for a search. */
  refuse(where: string, expected: string, line: string, hint?: string): Error {
    return this.#refuse(where)(expected, line, hint);
  }

  /** Sends lines and waits until they are dealt with, and with them what an earlier search may still have printed. */
  async #ready(where: string, lines: readonly string[]): Promise<void> {
    const { startTimeoutMs: timeoutMs } = this.#setup;
    const expected = `readyok within ${timeoutMs} ms`;
    const answer = await this.#process.ask({
      lines: [...lines, "isready"],
      where,
      expected,
      timeoutMs,
      read: (line) => (line.trim() === "readyok" ? line : undefined),
    });
    if (answer === null) throw this.#process.fault({ where, expected, got: "none" });
  }

  /**
   * Searches one position. After a failure the session is of no use: what it prints may belong to an earlier question.
   * @throws EngineError when the program ends, keeps silent or prints nonsense.
   */
  async search(search: Search): Promise<SearchResult | StoppedSearch> {
    const { where, fen, depth, lines } = search;
    const { protocol, scale, timeoutMs, graceMs } = this.#setup;
    const before = [...protocol.newGame(this.#options)];
    const choice = findOption(this.#options, linesOption);
    if (choice !== undefined && lines !== this.#lines) {
      before.push(protocol.setOption(choice, String(lines)));
      this.#lines = lines;
    }
    await this.#ready(where, before);
    const report = new SearchReport(lines);
    const refuse = this.#refuse(where);
    const read = (text: string): { readonly bestMove: string | null; text: string } | undefined => {
      const line = parseInfo(text, scale, refuse);
      if (line !== null) report.add(line);
      const bestMove = parseBestMove(text, refuse);
      return bestMove === undefined ? undefined : { bestMove, text };
    };
    const expected = `the best move within ${timeoutMs} ms`;
    const go = [`position fen ${fen}`, `go depth ${depth}`];
    const found = await this.#process.ask({ lines: go, where, expected, timeoutMs, read });
    if (found !== null) return { ...found, lines: report.lines };
    const sooner = `${expected}, or within ${graceMs} ms of stop`;
    const stop = { lines: ["stop"], where, expected: sooner, timeoutMs: graceMs, read };
    if ((await this.#process.ask(stop)) === null) {
      throw this.#process.fault({ where, expected: sooner, got: "none" });
    }
    return { stoppedAtDepth: report.lines?.[0]?.depth ?? 0 };
  }

  async close(): Promise<void> {
    await this.#process.close(this.#setup.graceMs);
  }

  async kill(): Promise<void> {
    await this.#process.kill();
  }
}
