import { afterEach, describe, expect, it } from "vitest";
import {
  type EngineScript,
  type ScriptedProgram,
  scriptedProgram,
} from "../../../../tests/scripted-xiangqi-engine.ts";
import { ConfigError, DataError, EngineError } from "../../../core/errors.ts";
import { formatCoordinates, parseCoordinates } from "../notation/coordinates.ts";
import { formatFen, parseFen } from "../rules/fen.ts";
import { minixiangqi, xiangqi } from "../rules/variant.ts";
import { MATE, type XiangqiEngine } from "./engine.ts";
import { type ExternalEngineOptions, openExternalEngine } from "./external-engine.ts";
import { ranksThatFit } from "./position-analysis.ts";

/** Red has four moves of the advisor and e0f0; by e0d0 the generals would face each other. */
const few = "3k5/9/9/9/9/9/9/9/4A4/4K4 w - - 0 1";
const allOfFew = ["e0f0", "e1d0", "e1d2", "e1f0", "e1f2"];
/** Red is mated by the chariot on its rank. */
const mated = "3k5/9/9/9/9/9/9/9/r8/1r2K4 w - - 0 1";
/** Black can mate at once, in more than one way. */
const mating = "3k5/9/9/9/9/9/9/r8/1r7/4K4 b - - 0 1";

const pikafish: EngineScript = {
  hello: [
    "Pikafish 2024 by the developers",
    "id name Pikafish 2024-05-01",
    "id author them",
    "option name Threads type spin default 1 min 1 max 1024",
    "option name Hash type spin default 16 min 1 max 33554432",
    "option name Clear Hash type button",
    "option name Ponder type check default false",
    "option name MultiPV type spin default 1 min 1 max 128",
    "option name EvalFile type string default pikafish.nnue",
    "option name Style type combo default Solid var Solid var Risky",
    "uciok",
  ],
  start: xiangqi.start,
  startAnswer: ["info depth 1 score cp 10 pv h2e2", "bestmove h2e2"],
};
const fairy: EngineScript = {
  ...pikafish,
  hello: [
    "id name Fairy-Stockfish 14",
    "option name UCI_Variant type combo default chess var chess var xiangqi var minixiangqi",
    "option name OwnBook type check default true",
    "uciok",
  ],
  startAnswer: ["info depth 1 score cp 10 pv h3e3", "bestmove h3e3"],
};
const elephantEye: EngineScript = {
  ...pikafish,
  hello: [
    "id name ElephantEye",
    "id version 3.3",
    "option usemillisec type check default true",
    "option usebook type check default true",
    "option hashsize type spin min 16 max 1024 default 16",
    "option newgame type button",
    "ucciok",
  ],
  startAnswer: ["info depth 1 score 4 pv h2e2", "bestmove h2e2"],
};

const programs: ScriptedProgram[] = [];
const engines: XiangqiEngine[] = [];
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.close()));
  for (const made of programs.splice(0)) made.remove();
});

function program(script: EngineScript): ScriptedProgram {
  const made = scriptedProgram(script);
  programs.push(made);
  return made;
}

const settings = { protocol: "uci", timeoutMs: 20_000, startTimeoutMs: 20_000 } as const;

async function open(
  script: EngineScript | ScriptedProgram,
  options: Partial<ExternalEngineOptions> = {},
): Promise<XiangqiEngine> {
  const { command } = "log" in script ? script : program(script);
  const engine = await openExternalEngine({ command, ...settings, ...options });
  engines.push(engine);
  return engine;
}

async function failure(promise: Promise<unknown>): Promise<Error> {
  const error: unknown = await promise.then(
    (value) => new Error(`no failure: ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  );
  return error as Error;
}

const good = ["info depth 4 score cp 35 pv e1d2 d9d8", "bestmove e1d2"];
const goodAnalysis = {
  depth: 4,
  lines: [{ move: "e1d2", value: 35, moves: ["e1d2", "d9d8"] }],
};

describe("the conversation", () => {
  it("is that of UCI", async () => {
    const run = program({ ...pikafish, lives: [{ go: [good] }] });
    const engine = await open(run, { options: { hash: "64", "Clear Hash": "", Style: "Risky" } });
    expect(engine.id).toBe("Pikafish 2024-05-01; uci; Clear Hash=; Hash=64; Style=Risky");
    expect(await engine.analyse(few, { depth: 4 })).toEqual(goodAnalysis);
    await engine.close();
    expect(run.log()).toEqual([
      "(start)",
      "uci",
      "setoption name Clear Hash",
      "setoption name Hash value 64",
      "setoption name Style value Risky",
      "isready",
      "ucinewgame",
      "isready",
      `position fen ${xiangqi.start}`,
      "go depth 1",
      "ucinewgame",
      "isready",
      `position fen ${few}`,
      "go depth 4",
      "quit",
    ]);
  });

  it("is that of UCCI", async () => {
    const answer = ["info depth 4 score -8 pv e1d2", "bestmove e1d2 draw"];
    const run = program({ ...elephantEye, lives: [{ go: [answer] }] });
    const engine = await open(run, { protocol: "ucci", options: { hashsize: "64" } });
    expect(engine.id).toBe("ElephantEye 3.3; ucci; hashsize=64; usebook=false");
    const [line] = (await engine.analyse(few, { depth: 4 })).lines;
    expect(line).toEqual({ move: "e1d2", value: -34, moves: ["e1d2"] });
    await engine.close();
    expect(run.log().slice(1, 6)).toEqual([
      "ucci",
      "setoption hashsize 64",
      "setoption usebook false",
      "isready",
      "setoption newgame",
    ]);
  });

  it("has one question at a time", async () => {
    const run = program({ ...pikafish, lives: [{ go: [good, good, good] }] });
    const engine = await open(run);
    const all = [2, 3, 4].map((depth) => engine.analyse(few, { depth }));
    expect(await Promise.all(all)).toEqual([goodAnalysis, goodAnalysis, goodAnalysis]);
    const order = run.log().filter((line) => /^(go|position)/.test(line));
    const asked = [2, 3, 4].flatMap((depth) => [`position fen ${few}`, `go depth ${depth}`]);
    expect(order.slice(2)).toEqual(asked);
  });

  it("is understood in pieces, with the line ends of Windows, and with other talk in between", async () => {
    const pieces = [
      "!raw info dep",
      "!pause",
      "!raw th 4 score cp 35 pv e1d2 d9",
      "!pause",
      "!raw d8\r",
      "!pause",
      "!raw \ninfo string bestmove e1f2\r\nHello?\r\n\r\nbestm",
      "!pause",
      "ove e1d2 ponder d9d8",
    ];
    const engine = await open({ ...pikafish, lineEnd: "\r\n", lives: [{ go: [pieces] }] });
    expect(engine.id).toBe("Pikafish 2024-05-01; uci");
    expect(await engine.analyse(few, { depth: 4 })).toEqual(goodAnalysis);
  });

  it("does not begin for a position that cannot be, or is finished", async () => {
    const run = program(pikafish);
    const engine = await open(run);
    const facing = "3k5/9/9/9/9/9/9/9/9/3K5 w";
    expect(await failure(engine.analyse(facing, { depth: 4 }))).toBeInstanceOf(DataError);
    expect(await failure(engine.analyse(few, { depth: 0 }))).toBeInstanceOf(ConfigError);
    expect(await failure(engine.analyse(few, { depth: 2, lines: 0.5 }))).toBeInstanceOf(
      ConfigError,
    );
    expect(await engine.analyse(mated, { depth: 4 })).toEqual({ depth: 0, lines: [] });
    expect(run.log().filter((line) => line.startsWith("position"))).toHaveLength(1);
  });
});

describe("options", () => {
  it.each([
    [{ Hsah: "64" }, /expected a known option of the engine, got "Hsah" \(did you mean "Hash"\?/],
    [{ Hash: "0" }, /expected Hash to be a whole number from 1 to 33554432, got "0"/],
    [{ multipv: "3" }, /expected no option MultiPV, got "3" \(give lines to analyse\(\)\)/],
    [{ UCI_Variant: "chess" }, /expected no option UCI_Variant, .* \(give the variant\)/],
  ])("that the engine does not have or take: %j", async (options, message) => {
    const error = await failure(open(pikafish, { options }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(message);
  });

  it.each([
    [{ command: [] }, /expected a command, got \[\]/],
    [{ timeoutMs: 0 }, /expected timeoutMs, a whole number from 1 to 2147483647, got 0/],
    [{ graceMs: Infinity }, /expected graceMs/],
    [{ restarts: -1 }, /expected restarts/],
    [{ centipawnsPerPoint: 100 }, /for ucci only, got 100 for uci/],
  ])("of ours: %j", async (options, message) => {
    const error = await failure(open(pikafish, options));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(message);
  });

  it("set the variant where there is one to set, and a book that is on to off", async () => {
    const run = program({ ...fairy, start: minixiangqi.start, startAnswer: ["bestmove b1b2"] });
    const engine = await open(run, { variant: minixiangqi });
    expect(engine.id).toBe("Fairy-Stockfish 14; uci; OwnBook=false; UCI_Variant=minixiangqi");
    expect(run.log()).toContain("setoption name UCI_Variant value minixiangqi");
    const error = await failure(open(pikafish, { variant: minixiangqi }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(/expected an engine with the option UCI_Variant/);
    const hello = fairy.hello.map((line) => line.replace(" var xiangqi", ""));
    const small = await failure(open({ ...fairy, hello }));
    expect(small.message).toMatch(/expected an engine that plays xiangqi, .*large boards/);
  });

  it("tell the scale of UCCI", async () => {
    const lives = [{ go: [["info depth 4 score -8 pv e1d2", "bestmove e1d2"]] }];
    const engine = await open(
      { ...elephantEye, lives },
      { protocol: "ucci", centipawnsPerPoint: 1, options: { usebook: "true" } },
    );
    expect(engine.id).toBe("ElephantEye 3.3; ucci; usebook=true; centipawnsPerPoint=1");
    expect((await engine.analyse(few, { depth: 4 })).lines[0]!.value).toBe(-8);
  });
});

describe("ranks", () => {
  it.each([xiangqi, minixiangqi])("show in any move of the start position: $name", (variant) => {
    const { position } = parseFen(variant.start, { variant });
    for (const move of position.legalMoves()) {
      for (const firstRank of [0, 1] as const) {
        const text = formatCoordinates(move, variant, firstRank);
        expect(ranksThatFit(text, position)).toEqual([firstRank]);
      }
    }
  });

  const fromOne = ["info depth 4 score cp 35 pv e2d3 d10d9", "bestmove e2d3"];

  it.each(["auto", 1] as const)("are counted from 1 by Fairy-Stockfish: %s", async (firstRank) => {
    const engine = await open({ ...fairy, lives: [{ go: [fromOne] }] }, { firstRank });
    expect(await engine.analyse(few, { depth: 4 })).toEqual(goodAnalysis);
  });

  it("that are told wrong are noticed in the start position", async () => {
    const wrong = await failure(open(fairy, { firstRank: 0 }));
    expect(wrong).toBeInstanceOf(EngineError);
    expect(wrong.message).toMatch(
      /start position: expected legal moves, ranks counted from 0, not "h3e3", got "bestmove h3e3" \(with firstRank 1 it would be legal: set firstRank; /,
    );
    const other = await failure(open(pikafish, { firstRank: 1 }));
    expect(other.message).toMatch(/from 1, not "h2e2", .*with firstRank 0 it would be legal/);
  });

  it("are told by no name: an engine without the usual options is asked too", async () => {
    const hello = ["id name Someone's own", "uciok"];
    const engine = await open({ ...fairy, hello, lives: [{ go: [fromOne] }] });
    expect(await engine.analyse(few, { depth: 4 })).toEqual(goodAnalysis);
  });

  it("do not make a chess engine play Xiangqi", async () => {
    const error = await failure(open({ ...pikafish, startAnswer: ["bestmove e2e4"] }));
    expect(error.message).toMatch(/expected legal moves, .* not "e2e4", got "bestmove e2e4"/);
    expect(error.message).not.toMatch(/it would be legal/);
    const none = await failure(open({ ...pikafish, startAnswer: ["bestmove (none)"] }));
    expect(none.message).toMatch(/expected a move, got "bestmove \(none\)"/);
  });

  it("that change later are noticed with the line that shows it", async () => {
    const engine = await open({ ...pikafish, lives: [{ go: [fromOne] }] }, { restarts: 0 });
    const error = await failure(engine.analyse(few, { depth: 4 }));
    expect(error.message).toMatch(/got "bestmove e2d3" \(with firstRank 1 it would be legal/);
  });
});

describe("the best moves", () => {
  const three = [
    "info depth 3 multipv 1 score cp 10 pv e1f2",
    "info depth 3 multipv 2 score cp 9 pv e1d2",
    "info depth 3 multipv 3 score cp 8 pv e0f0",
    "info depth 4 multipv 2 score cp 20 pv e1d2",
    "info depth 4 multipv 1 score mate 2 pv e1f2 d9d8",
    "info depth 4 multipv 3 score mate -3 pv e1d0",
    "info depth 5 multipv 1 score cp 90 pv e0f0",
    "bestmove e1f2",
  ];

  it("come from MultiPV, of the last complete depth", async () => {
    const run = program({ ...pikafish, lives: [{ go: [three, good] }] });
    const engine = await open(run);
    expect(await engine.analyse(few, { depth: 5, lines: 3 })).toEqual({
      depth: 4,
      lines: [
        { move: "e1f2", value: MATE - 3, moves: ["e1f2", "d9d8"] },
        { move: "e1d2", value: 20, moves: ["e1d2"] },
        { move: "e1d0", value: 6 - MATE, moves: ["e1d0"] },
      ],
    });
    expect(await engine.analyse(few, { depth: 4 })).toEqual(goodAnalysis);
    const set = run.log().filter((line) => line.startsWith("setoption"));
    expect(set).toEqual(["setoption name MultiPV value 3", "setoption name MultiPV value 1"]);
  });

  it("are as many as there are legal moves, if more are asked for", async () => {
    const lines = allOfFew.map(
      (move, at) => `info depth 1 multipv ${at + 1} score cp 0 pv ${move}`,
    );
    const run = program({ ...pikafish, lives: [{ go: [[...lines, "bestmove e0f0"]] }] });
    const { lines: all } = await (await open(run)).analyse(few, { depth: 1, lines: 128 });
    expect(all.map(({ move }) => move)).toEqual(allOfFew);
    expect(run.log()).toContain("setoption name MultiPV value 5");
  });

  /** Answers in the positions after every move: a score by the move, and the first legal move. */
  const answersAfter = (
    fen: string,
    score: (move: string) => string,
  ): Record<string, readonly string[]> => {
    const { position } = parseFen(fen);
    const answers = position.legalMoves().flatMap((move) => {
      const name = formatCoordinates(move);
      position.make(move);
      const after = formatFen(position);
      const [reply] = position.legalMoves();
      position.unmake();
      if (reply === undefined) return [];
      const text = formatCoordinates(reply);
      return [
        [after, [`info depth 3 score ${score(name)} pv ${text}`, `bestmove ${text}`]] as const,
      ];
    });
    return Object.fromEntries(answers);
  };

  it("come from the positions after every move where there is no MultiPV", async () => {
    const scores: Readonly<Record<string, string>> = {
      e0f0: "cp 10",
      e1d0: "cp -20",
      e1d2: "mate 2",
      e1f0: "mate -1",
      e1f2: "cp 0",
    };
    const hello = ["id name Plain", "uciok"];
    const positions = answersAfter(few, (move) => scores[move]!);
    const run = program({ ...pikafish, hello, positions });
    const engine = await open(run);
    expect(await engine.analyse(few, { depth: 4, lines: 4 })).toEqual({
      depth: 4,
      lines: [
        { move: "e1f0", value: MATE - 3, moves: ["e1f0", "d9d8"] },
        { move: "e1d0", value: 20, moves: ["e1d0", "d9d8"] },
        { move: "e1f2", value: 0, moves: ["e1f2", "d9d8"] },
        { move: "e0f0", value: -10, moves: ["e0f0", "d9e9"] },
      ],
    });
    const log = run.log();
    expect(log.filter((line) => line === "go depth 3")).toHaveLength(5);
    expect(log.filter((line) => line === "ucinewgame")).toHaveLength(6);
  });

  it("are never searched at depth 0, and a mate on the board needs no engine", async () => {
    const hello = ["id name Plain", "uciok"];
    const positions = answersAfter(mating, () => "cp 5");
    const run = program({ ...pikafish, hello, positions });
    const { depth, lines } = await (await open(run)).analyse(mating, { depth: 1, lines: 128 });
    expect(depth).toBe(4); // as the program says of the positions after the moves
    const { position } = parseFen(mating);
    for (const { move, value, moves } of lines) {
      position.make(parseCoordinates(move)!);
      const isEnd = position.legalMoves().length === 0;
      position.unmake();
      expect([value, moves.length]).toEqual(isEnd ? [MATE - 1, 1] : [-5, 2]);
    }
    expect(lines[0]!.value).toBe(MATE - 1);
    const asked = run.log().filter((line) => line.startsWith("go"));
    expect(asked).toEqual(asked.map(() => "go depth 1"));
    expect(asked).toHaveLength(1 + Object.keys(positions).length);
  });

  it("get a value when the engine says none: from the position after them", async () => {
    const positions = { ...answersAfter(few, () => "cp -7"), [few]: ["bestmove e1d2"] };
    const engine = await open({ ...pikafish, positions });
    expect(await engine.analyse(few, { depth: 4 })).toEqual({
      depth: 4,
      lines: [{ move: "e1d2", value: 7, moves: ["e1d2", "d9d8"] }],
    });
    const silent = await open(
      { ...pikafish, lives: [{ go: [["bestmove e1d2"], ["bestmove d9d8"]] }] },
      { restarts: 0 },
    );
    const error = await failure(silent.analyse(few, { depth: 4 }));
    expect(error.message).toMatch(/after e1d2: expected a score, got "bestmove d9d8"/);
  });

  it("may come without moves when there is one line", async () => {
    const answer = ["info depth 4 score cp 35", "bestmove e1d2"];
    const engine = await open({ ...pikafish, lives: [{ go: [answer] }] });
    const { lines } = await engine.analyse(few, { depth: 4 });
    expect(lines).toEqual([{ move: "e1d2", value: 35, moves: ["e1d2"] }]);
  });
});

/** How a program can fail in an analysis, and what is said of it. */
const faults: readonly (readonly [name: string, answer: readonly string[], message: RegExp])[] = [
  ["exits", ["!stderr no net", "!exit 3"], /got its end with exit code 3 .*stderr ends "no net"/],
  [
    "exits after a line",
    ["info depth 1 score cp 1 pv e1d2", "!exit 0"],
    /got its end with exit code 0 .*stdout ends .*pv e1d2"/,
  ],
  ["crashes", ["!die"], /got its end by SIGKILL/],
  [
    "is silent, and deaf to stop",
    ["!deaf"],
    /expected the best move within 600 ms, or within 100 ms of stop, got none/,
  ],
  ["does not stop talking in one line", ["!flood"], /got a line of more than 65536 characters/],
  [
    "names an illegal move",
    ["info depth 4 score cp 1 pv e0d0", "bestmove e1d2"],
    /expected legal moves, ranks counted from 0, not "e0d0", got "info depth 4 score cp 1 pv e0d0"/,
  ],
  [
    "ends on an illegal move",
    ["info depth 4 score cp 1 pv e1d2", "bestmove e1e2"],
    /got "bestmove e1e2"/,
  ],
  [
    "goes on with an illegal move",
    ["info depth 4 score cp 1 pv e1d2 d9d7", "bestmove e1d2"],
    /not "d9d7"/,
  ],
  ["names no square", ["info depth 4 score cp 1 pv zz9", "bestmove e1d2"], /not "zz9"/],
  [
    "says nonsense for a number",
    ["info depth 4 score cp many pv e1d2", "bestmove e1d2"],
    /expected a whole number after cp, got "info depth 4 score cp many pv e1d2"/,
  ],
  ["sees no move", ["bestmove (none)"], /expected one of 5 legal moves, got "bestmove \(none\)"/],
  ["gives up", ["nobestmove"], /expected one of 5 legal moves, got "nobestmove"/],
  [
    "prints bytes",
    ["!raw \u0000\u0001\u0002\ufffd\n", "bestmove \u0007"],
    /got "bestmove \\u0007"/,
  ],
];

describe("an engine that fails", () => {
  it.each(faults)("in an analysis: %s", async (_name, answer, message) => {
    const run = program({ ...pikafish, lives: [{ go: [answer] }] });
    const timeoutMs = answer.includes("!deaf") ? 600 : settings.timeoutMs;
    const engine = await open(run, { timeoutMs, graceMs: 100, restarts: 0 });
    const error = await failure(engine.analyse(few, { depth: 4 }));
    expect(error).toBeInstanceOf(EngineError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain(`engine ${run.command.join(" ")}, FEN "${few}": expected `);
  });

  it("is started anew for the same position, and then for the next", async () => {
    const lives = [{ go: [good, ["!exit 3"]] }, { go: [["!deaf"]] }, { go: [good] }];
    const run = program({ ...pikafish, lives });
    const engine = await open(run, { timeoutMs: 600, graceMs: 50 });
    const all = [1, 2, 3].map(() => engine.analyse(few, { depth: 4 }));
    expect(await Promise.all(all)).toEqual([goodAnalysis, goodAnalysis, goodAnalysis]);
    expect(run.log().filter((line) => line === "(start)")).toHaveLength(3);
  });

  it("too often is an error of one position: the next gets a new start", async () => {
    const lives = [{ go: [["!exit 1"]] }, { go: [["!exit 2"]] }, { go: [good] }];
    const run = program({ ...pikafish, lives });
    const engine = await open(run, { restarts: 1 });
    const error = await failure(engine.analyse(few, { depth: 4 }));
    expect(error.message).toMatch(/, restart 1 of 1: expected .* exit code 2/);
    expect(await engine.analyse(few, { depth: 4 })).toEqual(goodAnalysis);
  });

  it("may have become another one meanwhile", async () => {
    const hello = pikafish.hello.map((line) => line.replace("2024-05", "2025-01"));
    const lives = [{ go: [["!exit 1"]] }, { hello, go: [good] }];
    const engine = await open({ ...pikafish, lives }, { restarts: 1 });
    const error = await failure(engine.analyse(few, { depth: 4 }));
    expect(error.message).toMatch(
      /expected Pikafish 2024-05-01; uci, got Pikafish 2025-01-01; uci/,
    );
  });

  it("that is only slow is stopped, asked no second time, and goes on with the next position", async () => {
    const slow = ["info depth 3 score cp 35 pv e1d2 d9d8", "!stop bestmove e1d2"];
    const run = program({ ...pikafish, lives: [{ go: [slow, good] }] });
    const engine = await open(run, { timeoutMs: 600 });
    const error = await failure(engine.analyse(few, { depth: 4 }));
    expect(error).toBeInstanceOf(EngineError);
    expect(error.message).toMatch(/expected depth 4 within 600 ms, got depth 3 by then/);
    expect(await engine.analyse(few, { depth: 4 })).toEqual(goodAnalysis);
    expect(run.log().filter((line) => line === "(start)")).toHaveLength(1);
  });

  it.each([
    [
      "does not exist",
      { command: ["/no/such/engine"] },
      /expected uciok within .*got no start: .*ENOENT/,
    ],
    ["is no program", { command: ["/"] }, /(EACCES|EISDIR|ENOENT)/],
    [
      "ends at once",
      { command: [process.execPath, "-e", "process.exit(7)"] },
      /got its end with exit code 7/,
    ],
    ["cannot be a command", { command: ["a\0b"] }, /expected a program that can be started/],
  ])("to start: %s", async (_name, options, message) => {
    const error = await failure(open(pikafish, options));
    expect(error).toBeInstanceOf(EngineError);
    expect(error.message).toMatch(message);
  });

  it.each([
    ["is silent", { hello: ["!deaf"] }, /expected uciok within 150 ms, got none \(does it speak/],
    ["is never ready", { ready: ["!deaf"] }, /expected (uciok|readyok) within 150 ms, got none/],
  ])("in the handshake: %s", async (_name, life, message) => {
    const error = await failure(open({ ...pikafish, lives: [life] }, { startTimeoutMs: 150 }));
    expect(error).toBeInstanceOf(EngineError);
    expect(error.message).toMatch(message);
  });

  it("by talking of something else is quoted", async () => {
    const hello = ["Unknown command: uci", "!exit 0"];
    const error = await failure(open({ ...pikafish, hello }));
    expect(error.message).toMatch(
      /exit code 0 \(stdout ends "Unknown command: uci"; stderr is empty/,
    );
  });
});

describe("close", () => {
  it("ends what is under way, and what waits", async () => {
    const run = program({ ...pikafish, lives: [{ go: [["!deaf"]] }] });
    const engine = await open(run, { graceMs: 50 });
    const all = [1, 2].map(async () => failure(engine.analyse(few, { depth: 4 })));
    while (!run.log().includes("go depth 4"))
      await new Promise((resolve) => setTimeout(resolve, 5));
    await engine.close();
    const [first, second] = await Promise.all(all);
    expect(first!.message).toMatch(/got close\(\)/);
    expect(second!.message).toMatch(/expected an open engine, got one that was closed/);
    const later = await failure(engine.analyse(few, { depth: 4 }));
    expect(later).toBeInstanceOf(EngineError);
    await engine.close();
  });
});
