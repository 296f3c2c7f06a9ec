import * as fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { randomStream } from "../../core/random.ts";
import type { Output, Scores } from "../../core/task.ts";
import type { XiangqiConfig } from "./config.ts";
import { Search } from "./engines/search.ts";
import type { XiangqiItem } from "./item.ts";
import { formatCoordinates } from "./notation/coordinates.ts";
import { formatMove, notationNames } from "./notation/parse-move.ts";
import { promptTemplates } from "./prompt.ts";
import { formatFen, parseFen } from "./rules/fen.ts";
import { minixiangqi, variantNames, variants, xiangqi } from "./rules/variant.ts";
import { situationOf, turnSituation } from "./situation.ts";
import { judge, xiangqiTask } from "./task.ts";
import { mirrorPosition, turnPosition } from "./view.ts";

const configOf = (settings: Readonly<Record<string, unknown>> = {}): XiangqiConfig =>
  xiangqiTask.config.parse({
    depth: 2,
    selfPlay: { minPieces: 6, maxPieces: 10, depths: [1], maxPlies: 30 },
    ...settings,
  });
const output = (text: string, stopReason: Output["stopReason"] = "stop"): Output => ({
  text,
  stopReason,
});
const itemAt = (seed: number, config = configOf()): XiangqiItem =>
  xiangqiTask.make(randomStream("task test", seed), config);
const goldOf = (item: XiangqiItem, config: XiangqiConfig): string =>
  xiangqiTask.gold(item, config, randomStream("gold"));
const scoreOf = (item: XiangqiItem, text: string, config = configOf()): Scores =>
  xiangqiTask.score(item, output(text), config);
const answer = (move: string, situation = "Balanced"): string =>
  `<think>x</think><answer>Situation: ${situation}\nMove: ${move}</answer>`;
const promptOf = (item: XiangqiItem, config: XiangqiConfig): string =>
  xiangqiTask.prompt(item, config)[0]!.content;

const COUNT = 16;
/** Made once: views, prompts and targets do not change an item. */
const made = variantNames.map((variant) => ({
  variant,
  items: Array.from({ length: COUNT }, (_item, seed) => itemAt(seed, configOf({ variant }))),
}));
const everyItem = made.flatMap(({ variant, items }) => items.map((item) => ({ variant, item })));
const views = ["mover", "board"] as const;

const fullMarks = {
  format: 1,
  parsed: 1,
  legal: 1,
  good: 1,
  best: 1,
  analysis: 1,
  situation3: 1,
  situation5: 1,
  centipawnLoss: 0,
  formattedLegal: 1,
  formattedGood: 1,
  formattedBest: 1,
  formattedAnalysis: 1,
};

describe("gold", () => {
  it("gets full marks with the engine's move, on both boards, from both sides, in both views and prompts", () => {
    const sides = new Set<string>();
    for (const { variant, item } of everyItem) {
      for (const view of views) {
        for (const prompt of promptTemplates) {
          const config = configOf({ variant, view, prompt, target: "best" });
          const gold = goldOf(item, config);
          const scores = scoreOf(item, gold, config);
          expect(scores, gold).toMatchObject(fullMarks);
          expect(Object.keys(scores).sort()).toEqual(Object.keys(xiangqiTask.scores).sort());
          expect(xiangqiTask.errorClass!(item, output(gold), config)).toBeNull();
          sides.add(`${variant} ${item.fen.split(" ")[1]}`);
        }
      }
    }
    expect(sides.size).toBe(4);
  });

  it("is a legal move with the right situation where the game's move is the target", () => {
    let best = 0;
    for (const { variant, item } of everyItem) {
      const config = configOf({ variant, view: "mover" });
      const scores = scoreOf(item, goldOf(item, config), config);
      expect(scores).toMatchObject({ format: 1, legal: 1, situation5: 1 });
      expect(scores["best"]).toBe(Number(item.played === item.best));
      best += scores["best"]!;
    }
    expect(best).toBeLessThan(everyItem.length);
  });

  it("takes the other move where one is unknown, the comment as thinking, and three classes for five", () => {
    const { item } = everyItem[0]!;
    const bare: XiangqiItem = { fen: item.fen, ply: 0, phase: "opening", winner: "draw" };
    const best = configOf({ target: "best" });
    expect(goldOf({ ...bare, best: item.best }, configOf())).toBe(
      `<answer>Move: ${item.best}</answer>`,
    );
    expect(goldOf({ ...bare, played: item.played }, best)).toContain(`Move: ${item.played}<`);
    const told = { ...bare, best: item.best, comment: "Hold on.", situation3: item.situation3 };
    const gold = goldOf(told, best);
    expect(gold).toBe(
      `<think>Hold on.</think><answer>Situation: ${item.situation3}\nMove: ${item.best}</answer>`,
    );
    expect(scoreOf(told, gold, best)).toMatchObject({ format: 1, analysis: 1, best: 1 });
  });

  it("thinks what can be counted on the board", () => {
    // Black: a chariot for a cannon and a crossed soldier, and in check.
    const item: XiangqiItem = {
      fen: "r2k5/9/9/9/3P5/9/9/3C5/9/4K4 b",
      ply: 0,
      phase: "endgame",
      winner: "draw",
      best: "d9e9",
      situation5: "Balanced",
    };
    const thinkingOf = (one: XiangqiItem, config: XiangqiConfig) =>
      judge(one, goldOf(one, config), config).answer.thinking;
    for (const view of views) {
      expect(thinkingOf(item, configOf({ view }))).toBe("Material: 300\nCheck: yes");
    }
    const two = { ...item, fen: "rr1k5/9/9/9/9/9/9/9/9/4K4 w", best: "e0e1" };
    expect(thinkingOf(two, configOf())).toBe("Material: -1500\nCheck: no");
  });

  it("is made of the tokens of the task, as is the prompt of pieces", () => {
    for (const { variant, item } of everyItem) {
      const config = configOf({ variant, view: "mover", prompt: "pieces", target: "best" });
      const tokens = [...xiangqiTask.tokens!(config)].sort((a, b) => b.length - a.length);
      const leftOf = (text: string): string => {
        let rest = text;
        for (;;) {
          const token = tokens.find((one) => rest.startsWith(one));
          if (token === undefined) return rest;
          rest = rest.slice(token.length);
        }
      };
      expect(leftOf(goldOf(item, config))).toBe("");
      expect(leftOf(promptOf(item, config))).toBe("");
    }
  });
});

describe("make", () => {
  it("same stream, same item; items are plain JSON", () => {
    const item = itemAt(3);
    expect(itemAt(3)).toEqual(item);
    expect(JSON.parse(JSON.stringify(item))).toEqual(item);
    expect(itemAt(4)).not.toEqual(item);
  });

  it("knows who made it, a legal move of the game, and where it stands", () => {
    for (const { variant, item } of everyItem) {
      const { position } = parseFen(item.fen, { variant: variants[variant] });
      const legal = position.legalMoves().map((move) => formatCoordinates(move, variants[variant]));
      expect(Object.keys(item.values!).sort()).toEqual(legal.sort());
      expect(legal).toContain(item.played);
      expect(item).toMatchObject({ source: "self-play", engine: "alidade-search-1, depth 2" });
      expect(item.ply).toBeLessThan(30);
      expect(item.phase).toBe(item.ply < 20 ? "opening" : "middlegame");
      expect(xiangqiTask.level!(item, configOf())).toBe(item.phase);
    }
  });
});

describe("judgement", () => {
  it("agrees with a search of its own, for every legal move in any notation", () => {
    for (const { variant, item } of everyItem.filter((_one, index) => index % 2 === 0)) {
      const board = variants[variant];
      const { position } = parseFen(item.fen, { variant: board });
      const { lines } = new Search(board).analyse(position, { depth: 2, lines: 128 });
      const [top] = lines;
      const red = item.fen.includes(" w ") ? top!.value : -top!.value;
      const size = Math.abs(red);
      const side = red > 0 ? "Red" : "Black";
      const five = size <= 100 ? "Balanced" : `${size < 800 ? "Slight" : "Clear"}_Adv_${side}`;
      const three = size <= 100 ? "Balanced" : `Advantage_${side}`;
      expect(item).toMatchObject({ valueRed: red, situation5: five, situation3: three });
      const config = configOf({ variant });
      for (const [index, move] of position.legalMoves().entries()) {
        const line = lines.find((one) => one.move === formatCoordinates(move, board))!;
        const loss = top!.value - line.value;
        const notation = notationNames[index % notationNames.length]!;
        const text = answer(formatMove(position, move, notation), five);
        expect(scoreOf(item, text, config), text).toMatchObject({
          format: 1,
          legal: 1,
          good: Number(loss <= 100),
          best: Number(line === top),
          centipawnLoss: Math.min(loss, 1_000),
          analysis: 1,
          situation5: 1,
        });
      }
    }
  });

  it("sees a mate: everything else is a blunder of 1000 centipawns, the win is clear", () => {
    const item: XiangqiItem = {
      fen: "3k5/R8/9/9/9/9/9/9/1R7/4K4 w",
      ply: 70,
      phase: "endgame",
      winner: "red",
      best: "b1b9",
      valueRed: 9_999,
      situation3: "Advantage_Red",
      situation5: "Clear_Adv_Red",
      values: { b1b9: 9_999, b1b2: 1_900, e0e1: 9_997 },
    };
    expect(scoreOf(item, answer("b1b9", "Clear_Adv_Red"))).toMatchObject(fullMarks);
    expect(scoreOf(item, answer("b1b2"))).toMatchObject({
      legal: 1,
      good: 0,
      centipawnLoss: 1_000,
    });
    // A mate two plies later loses two centipawns.
    expect(scoreOf(item, answer("e0e1"))).toMatchObject({ good: 1, best: 0, centipawnLoss: 2 });
    expect(scoreOf(item, answer("e0e1"), configOf({ bestMargin: 2 }))["best"]).toBe(1);
    expect(scoreOf(item, answer("e0e1"), configOf({ goodLoss: 2 }))["good"]).toBe(1);
    expect(scoreOf(item, answer("e0e1"), configOf({ goodLoss: 1 }))["good"]).toBe(0);
    // Right in three classes of situation, not in five, and beside an illegal move in neither.
    const slight = scoreOf(item, answer("b1b9", "Slight_Adv_Red"));
    expect(slight).toMatchObject({ analysis: 1, situation3: 1, situation5: 0 });
    const illegal = scoreOf(item, answer("b1c2", "Clear_Adv_Red"));
    expect(illegal).toMatchObject({ format: 1, legal: 0, good: 0, best: 0, centipawnLoss: null });
    expect(illegal).toMatchObject({ analysis: 1, situation3: 0, situation5: 0 });
  });

  it("counts nothing of an output without the format towards what counts with it alone", () => {
    const { item } = everyItem[0]!;
    const text = `Situation: ${item.situation5}\nMove: ${item.best}`;
    expect(scoreOf(item, text)).toMatchObject({
      ...fullMarks,
      format: 0,
      formattedLegal: 0,
      formattedGood: 0,
      formattedBest: 0,
      formattedAnalysis: 0,
    });
    // The form without a move is not the format either.
    expect(scoreOf(item, answer("none", item.situation5))).toMatchObject({
      format: 0,
      parsed: 0,
      analysis: 1,
      formattedAnalysis: 0,
    });
  });
});

describe("labels that are not known", () => {
  const item: XiangqiItem = { fen: xiangqi.start, ply: 0, phase: "opening", winner: "unknown" };
  const known = (more: Partial<XiangqiItem>, text = answer("h2e2")) =>
    scoreOf({ ...item, ...more }, text);

  it("abstain, and are no zero", () => {
    const unknown = { good: null, best: null, analysis: null, situation3: null, situation5: null };
    const formatted = { formattedGood: null, formattedBest: null, formattedAnalysis: null };
    const scores = known({});
    expect(scores).toMatchObject({ legal: 1, formattedLegal: 1, centipawnLoss: null });
    expect(scores).toMatchObject({ ...unknown, ...formatted });
    // An illegal move is neither good nor best, whoever judges.
    expect(known({}, answer("h2h8"))).toMatchObject({ legal: 0, good: 0, best: 0, analysis: null });
  });

  it("are known for single moves alone, where a row says so", () => {
    expect(known({ best: "h2e2" })).toMatchObject({ best: 1, good: 1, centipawnLoss: null });
    expect(known({ best: "b0c2" })).toMatchObject({ best: 0, good: null, centipawnLoss: null });
    const played = { played: "h2e2", isGood: false };
    expect(known({ best: "b0c2", ...played })).toMatchObject({ best: 0, good: 0 });
    expect(known(played)).toMatchObject({ best: null, good: 0 });
    expect(known({ played: "h2e2", isGood: true })).toMatchObject({ best: null, good: 1 });
    expect(known(played, answer("b0c2"))).toMatchObject({ best: null, good: null });
  });

  it("follow from the values of the moves where nobody named the best one", () => {
    const values = { h2e2: 30, b2e2: 30, b0c2: 20, a0a1: -90 };
    expect(known({ values })).toMatchObject({ best: 1, good: 1, centipawnLoss: 0 });
    expect(known({ values }, answer("b0c2"))).toMatchObject({ best: 0, good: 1 });
    expect(known({ values }, answer("a0a1"))).toMatchObject({ good: 0, centipawnLoss: 120 });
    // Named, it is the only one, and good whatever its value.
    expect(known({ values, best: "b2e2" })).toMatchObject({ best: 0, good: 1 });
    expect(known({ values, best: "a0a1" }, answer("a0a1"))).toMatchObject({ best: 1, good: 1 });
  });

  it("of the situation may be of three classes alone", () => {
    const three = known({ situation3: "Advantage_Red" }, answer("h2e2", "Clear_Adv_Red"));
    expect(three).toMatchObject({ analysis: 1, situation3: 1, situation5: null });
    expect(known({ situation3: "Advantage_Red" }, answer("h2e2"))["analysis"]).toBe(0);
  });
});

describe("view", () => {
  /** A move after half a turn of the board, on its letters. */
  const turned = (move: string, { files, ranks }: typeof xiangqi): string =>
    move.replaceAll(/([a-i])(\d)/g, (_square, file: string, rank: string) => {
      const other = files - 1 - (file.charCodeAt(0) - 97);
      return `${String.fromCharCode(97 + other)}${ranks - 1 - Number(rank)}`;
    });

  it("the same answer seen from both ends gets the same scores", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...everyItem),
        fc.nat(1_000),
        fc.boolean(),
        fc.constantFrom(-900, -200, 0, 200, 900),
        ({ variant, item }, index, isLegal, value) => {
          const board = variants[variant];
          const squares = Object.keys(item.values!);
          const from = squares[index % squares.length]!;
          const to = squares[(index * 7) % squares.length]!;
          const move = isLegal ? from : from.slice(0, 2) + to.slice(2);
          const situation = situationOf(value);
          const onBoard = scoreOf(
            item,
            answer(move, situation),
            configOf({ variant, view: "board" }),
          );
          const isTurned = item.fen.includes(" b ");
          const seen = isTurned
            ? answer(turned(move, board), turnSituation(situation))
            : answer(move, situation);
          expect(scoreOf(item, seen, configOf({ variant, view: "mover" }))).toEqual(onBoard);
        },
      ),
    );
  });

  it("the mover is Red at the bottom, in prompts and in other notations", () => {
    const fen = `${xiangqi.start.split(" ")[0]} b - - 0 1`;
    const item: XiangqiItem = { fen, ply: 1, phase: "opening", winner: "draw" };
    const [mover, board] = [configOf({ view: "mover" }), configOf({ view: "board" })];
    expect(promptOf(item, mover)).toContain("as Red, whose pieces are in upper case");
    expect(promptOf(item, board)).toContain("as Black, whose pieces are in lower case");
    // The cannon of Black's right goes to the middle.
    const moveOf = (text: string, config: XiangqiConfig): string =>
      formatCoordinates(judge(item, answer(text), config).move!);
    expect(moveOf("炮二平五", mover)).toBe("b7e7");
    expect(moveOf("h2e2", mover)).toBe("b7e7");
    expect(moveOf("炮2平5", board)).toBe("b7e7");
    expect(moveOf("C2=5", board)).toBe("b7e7");
    expect(moveOf("b7e7", board)).toBe("b7e7");
  });

  it("a published conversation shows its own board, whatever the view", () => {
    const fen = `${xiangqi.start.split(" ")[0]} b - - 0 1`;
    const text = answer("b7e7", "Slight_Adv_Red");
    const item: XiangqiItem = {
      fen,
      ply: 1,
      phase: "opening",
      winner: "draw",
      best: "b7e7",
      situation3: "Advantage_Red",
      situation5: "Slight_Adv_Red",
      messages: [{ role: "user", content: `FEN: ${fen}` }],
      response: text,
    };
    for (const view of views) {
      const config = configOf({ view });
      expect(goldOf(item, config)).toBe(text);
      expect(promptOf(item, config)).toBe(`FEN: ${fen}`);
      expect(scoreOf(item, text, config)).toMatchObject({ legal: 1, best: 1, situation5: 1 });
    }
  });
});

describe("prompt", () => {
  it("shows pieces with their squares, own ones first, generals first, soldiers last", () => {
    const item: XiangqiItem = {
      fen: "3k5/4P4/9/9/4p4/9/9/2R6/9/4K4 b - - 3 9",
      ply: 0,
      phase: "endgame",
      winner: "draw",
    };
    const pieces = (view: string) => promptOf(item, configOf({ prompt: "pieces", view }));
    expect(pieces("board")).toBe("kd9pe5Ke0Rc2Pe8");
    expect(pieces("mover")).toBe("Kf0Pe4ke9rg7pe1");
  });

  it("shows the board and its own size", () => {
    const item: XiangqiItem = { fen: minixiangqi.start, ply: 0, phase: "opening", winner: "draw" };
    const text = promptOf(item, configOf({ variant: "minixiangqi" }));
    expect(text).toContain(`FEN: ${minixiangqi.start}\n6 r c n k n c r\n`);
    expect(text).toContain("0 R C N K N C R\n  a b c d e f g\n");
    expect(text).toContain("Files a to g from the left and ranks 0 to 6");
    expect(text).not.toMatch(/advisor|elephant/);
    const full = promptOf({ ...item, fen: xiangqi.start }, configOf());
    expect(full).toContain("K general, A advisor, B elephant, N horse, R chariot, C cannon");
    expect(full).toContain("Files a to i from the left and ranks 0 to 9");
  });

  it("tells nothing of the labels", () => {
    for (const { variant, item } of everyItem) {
      const { fen, ply, phase } = item;
      for (const view of views) {
        for (const prompt of promptTemplates) {
          const config = configOf({ variant, view, prompt });
          const bare: XiangqiItem = { fen, ply, phase, winner: "unknown" };
          expect(promptOf(item, config)).toBe(promptOf(bare, config));
        }
      }
    }
  });
});

test("empty, prompt-echo and random outputs score nothing", () => {
  const form = "<think>your analysis</think><answer>Situation: …\nMove: …</answer>";
  everyItem.forEach(({ variant, item }, seed) => {
    for (const prompt of promptTemplates) {
      const config = configOf({ variant, prompt, view: views[seed % 2] });
      const echo = promptOf(item, config);
      const noise = fc.sample(fc.string({ unit: "binary", maxLength: 200 }), { seed, numRuns: 1 });
      for (const text of ["", " \n", echo, form, `<think>${echo}</think>${form}`, ...noise]) {
        const scores = scoreOf(item, text, config);
        const { thinkingLength, centipawnLoss, balanced, ...rest } = scores;
        expect([centipawnLoss, balanced], text).toEqual([null, null]);
        expect(thinkingLength).toBeLessThanOrEqual(text.length);
        expect(new Set(Object.values(rest)), text).toEqual(new Set([0]));
        expect(xiangqiTask.errorClass!(item, output(text), config)).toBe("no move");
      }
    }
  });
});

test("changed gold answers: scores stay in range, and nothing is legal but what the rules say", () => {
  const piece = fc.oneof(
    fc.constantFrom("<think>", "</think>", "<answer>", "</answer>", "Move: ", "Situation: "),
    fc.constantFrom("\n", "a", "0", "e2", "h2e2", "Red", "炮", "平", "5", "=", "+", "C"),
    fc.string({ unit: "binary", maxLength: 3 }),
  );
  const change = fc.record({ at: fc.nat(), width: fc.nat(8), put: piece });
  let legal = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...everyItem),
      fc.constantFrom(...views),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      ({ variant, item }, view, changes) => {
        const config = configOf({ variant, view, target: "best" });
        const text = changes.reduce(
          (before, { at, width, put }) => {
            const start = at % (before.length + 1);
            return before.slice(0, start) + put + before.slice(start + width);
          },
          goldOf(item, config),
        );
        const scores = scoreOf(item, text, config);
        for (const [name, value] of Object.entries(scores)) {
          const most =
            name === "thinkingLength" ? text.length : name === "centipawnLoss" ? 1_000 : 1;
          if (value === null) expect(["centipawnLoss", "balanced"]).toContain(name);
          else expect(value >= 0 && value <= most, name).toBe(true);
        }
        const { move } = judge(item, text, config);
        const name = move === null ? "" : formatCoordinates(move, variants[variant]);
        expect(scores["legal"]).toBe(Number(item.values![name] !== undefined));
        expect(scores["best"]).toBe(Number(name === item.best));
        expect(scores["good"]).toBe(
          Number(item.values![item.best!]! - (item.values![name] ?? -Infinity) <= 100),
        );
        const isRight = xiangqiTask.errorClass!(item, output(text), config) === null;
        expect(isRight).toBe(scores["legal"] === 1);
        legal += scores["legal"]!;
      },
    ),
    { numRuns: 1_000 },
  );
  expect(legal).toBeGreaterThan(100);
});

describe("keys", () => {
  it("mirror images and exchanged colours are one problem", () => {
    for (const { variant, item } of everyItem) {
      const { position } = parseFen(item.fen, { variant: variants[variant] });
      for (const other of [turnPosition(position), mirrorPosition(position)]) {
        expect(xiangqiTask.key({ ...item, fen: formatFen(other) })).toBe(xiangqiTask.key(item));
      }
    }
    const keys = new Set(everyItem.map(({ item }) => xiangqiTask.key(item)));
    expect(keys.size).toBe(everyItem.length);
  });

  it("counters of the FEN and what is known of a position are not part of them", () => {
    const { item } = everyItem[0]!;
    const other: XiangqiItem = { ...item, fen: item.fen.replace(/\d+ \d+$/, "33 44"), best: "" };
    expect(other.fen).not.toBe(item.fen);
    expect(xiangqiTask.key(other)).toBe(xiangqiTask.key(item));
  });
});

describe("classes of wrong outputs", () => {
  const item: XiangqiItem = {
    // Red's chariot on e1 stands between its general and Black's chariot.
    fen: "3k5/4r4/9/9/9/9/9/2N6/4R4/4K4 w",
    ply: 0,
    phase: "endgame",
    winner: "draw",
  };
  it.each([
    ["e1e2", null],
    ["c2d4", null],
    ["e1d1", "left the general in check"],
    ["c2c3", "wrong step: horse"],
    ["e0g0", "wrong step: general"],
    ["e8e7", "moved the other side's piece"],
    ["a0a1", "moved nothing"],
    ["none", "no move"],
  ])("%s: %s", (move, name) => {
    expect(xiangqiTask.errorClass!(item, output(answer(move)), configOf())).toBe(name);
  });

  it("an output that ran out of tokens is too long only where it has no move", () => {
    const classOf = (text: string) =>
      xiangqiTask.errorClass!(item, output(text, "length"), configOf());
    expect(classOf("<think>so")).toBe("too long");
    expect(classOf("<think>x</think><answer>Move: a0a1")).toBe("moved nothing");
    expect(classOf("<think>x</think><answer>Move: e1e2")).toBeNull();
  });

  it("are the mover's in the mover's view", () => {
    const turnedItem = { ...item, fen: "4k4/4r4/6n2/9/9/9/9/9/4R4/5K3 b" };
    const classOf = (move: string) =>
      xiangqiTask.errorClass!(turnedItem, output(answer(move)), configOf({ view: "mover" }));
    expect(classOf("e1e2")).toBeNull();
    expect(classOf("e1d1")).toBe("left the general in check");
    expect(classOf("e8e7")).toBe("moved the other side's piece");
  });
});
