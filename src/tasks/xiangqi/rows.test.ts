import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DataError } from "../../core/errors.ts";
import { randomStream } from "../../core/random.ts";
import type { XiangqiConfig } from "./config.ts";
import { phases, type XiangqiItem } from "./item.ts";
import { formatCoordinates } from "./notation/coordinates.ts";
import { formatFen, parseFen } from "./rules/fen.ts";
import { RED } from "./rules/position.ts";
import { type Variant, variants, xiangqi } from "./rules/variant.ts";
import { randomPosition } from "./self-play.ts";
import { coarse, situationOf } from "./situation.ts";
import { xiangqiTask } from "./task.ts";

const configOf = (settings: Readonly<Record<string, unknown>> = {}): XiangqiConfig =>
  xiangqiTask.config.parse(settings);
const format = xiangqiTask.rows!;
type Row = Readonly<Record<string, unknown>>;
const read = (row: Row, config = configOf()): XiangqiItem => format.read(row, "rows.jsonl", config);
const write = (item: XiangqiItem, config = configOf()): Row =>
  format.write(item, config, randomStream("rows"));

const legalNames = (fen: string, variant: Variant = xiangqi): string[] =>
  parseFen(fen, { variant })
    .position.legalMoves()
    .map((move) => formatCoordinates(move, variant));

const optional = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const value = fc.integer({ min: -9_999, max: 9_999 });
const text = fc.string({ unit: "grapheme", maxLength: 12 });
/** Whole rows as a data set would publish them: every field there or not, all that must agree in agreement. */
const rows = fc
  .record({
    seed: fc.nat(),
    variant: fc.constantFrom("xiangqi", "minixiangqi"),
    numbers: fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 80 })),
    ply: fc.nat(160),
    phase: fc.constantFrom(...phases),
    winner: fc.constantFrom("red", "black", "draw", "unknown"),
    places: fc.tuple(fc.nat(), fc.nat()),
    value_red_cp: optional(value),
    afterPlayed: optional(value),
    is_good: optional(fc.boolean()),
    hasValues: fc.boolean(),
    comment: optional(text),
    source: optional(text),
    engine: optional(text),
    headers: optional(fc.dictionary(text, text, { maxKeys: 3 })),
    messages: optional(fc.tuple(text, optional(text))),
  })
  .map((parts) => {
    const variant = variants[parts.variant];
    const bounds = { minPieces: 4, maxPieces: 12, maxImbalance: 2_000 };
    const position = randomPosition(randomStream("row test", parts.seed), variant, {
      ...bounds,
      depths: [1],
      randomShare: 0,
      maxPlies: 1,
    });
    const [quiet, number] = parts.numbers;
    const fen = formatFen(position).replace(/0 1$/, `${quiet} ${number}`);
    const names = legalNames(fen, variant);
    const random = randomStream("values", parts.seed);
    const values = Object.fromEntries(names.map((name) => [name, random.integer(20_000) - 10_000]));
    const forRed = (mover: number): number => (position.side === RED ? mover : 0 - mover);
    const [played, best] = parts.places.map((place) => names[place % names.length]!);
    const five = parts.value_red_cp === undefined ? undefined : situationOf(parts.value_red_cp);
    const { ply, phase, winner, value_red_cp, comment, source, engine, headers } = parts;
    const isGood = Math.max(...Object.values(values)) - values[played!]! <= 100;
    const row = {
      fen,
      turn: position.side === RED ? "w" : "b",
      ply,
      phase,
      winner,
      played,
      best,
      value_red_cp,
      value_red_after_played_cp: parts.hasValues ? forRed(values[played!]!) : parts.afterPlayed,
      value_red_after_best_cp: parts.hasValues ? forRed(values[best!]!) : value_red_cp,
      situation_3: five && coarse(five),
      situation_5: five,
      is_good: parts.is_good ?? (parts.hasValues ? isGood : undefined),
      values: parts.hasValues ? values : undefined,
      comment,
      source,
      engine,
      headers,
    };
    const known = Object.fromEntries(Object.entries(row).filter(([, one]) => one !== undefined));
    const [asked, response] = parts.messages ?? [];
    const messages = [
      { role: "system", content: "" },
      { role: "user", content: asked },
      ...(response === undefined ? [] : [{ role: "assistant", content: response }]),
    ];
    return {
      config: configOf({ variant: parts.variant }),
      row: asked === undefined ? known : { messages, meta: known },
    };
  });

describe("rows", () => {
  it("come back field by field, and give items that can be stored as JSON", () => {
    fc.assert(
      fc.property(rows, ({ config, row }) => {
        const item = read(row, config);
        expect(write(item, config)).toEqual(row);
        const stored = JSON.parse(JSON.stringify(item)) as XiangqiItem;
        expect(write(stored, config)).toEqual(row);
      }),
      { numRuns: 300 },
    );
  });

  it("of made items give items with the same answers and judgements", () => {
    for (const variant of ["xiangqi", "minixiangqi"] as const) {
      for (let seed = 0; seed < 6; seed++) {
        const config = configOf({ variant, depth: 1, selfPlay: { depths: [1], maxPlies: 20 } });
        const item = xiangqiTask.make(randomStream("made", seed), config);
        const again = read(write(item, config), config);
        const { isGood, playedValueRed, ...rest } = again;
        expect(JSON.parse(JSON.stringify(rest))).toEqual(item);
        // What follows from the values of the moves is written down too.
        const [played, best] = [item.values![item.played!]!, item.values![item.best!]!];
        expect(isGood).toBe(best - played <= 100);
        expect(playedValueRed).toBe(item.fen.includes(" w ") ? played : 0 - played);
      }
    }
  });

  it("have the values of moves from the mover's side, all others from Red's", () => {
    const fen = "3k5/9/9/9/9/9/9/9/4A4/4K4 b - - 0 1";
    const values = { d9d8: 40, d9e9: -30 };
    const item = read({ fen, played: "d9e9", best: "d9d8", value_red_cp: -40, values });
    expect(write(item)).toMatchObject({
      turn: "b",
      value_red_cp: -40,
      value_red_after_played_cp: 30,
      value_red_after_best_cp: -40,
      is_good: true,
      values,
    });
    const scores = xiangqiTask.score(
      item,
      { text: "Move: d9e9", stopReason: "stop" },
      configOf({ goodLoss: 69 }),
    );
    expect(scores).toMatchObject({ good: 0, centipawnLoss: 70 });
  });

  it("need a FEN alone; the rest is unknown, or follows", () => {
    const fen = "3k5/9/9/9/9/9/9/9/4A4/4K4 b - - 3 31";
    const item = read({ fen: ` ${fen} `, played: null, values: null, meta: null, messages: null });
    const known = JSON.parse(JSON.stringify(item)) as unknown;
    expect(known).toEqual({ fen, ply: 61, phase: "endgame", winner: "unknown" });
    expect(read({ fen, ply: 19 }).phase).toBe("opening");
    expect(read({ fen, ply: 20 }).phase).toBe("middlegame");
    expect(read({ fen, ply: 59 }).phase).toBe("middlegame");
    // Trailing fields of the FEN may be missing; other letters and sides are written as ours.
    expect(read({ fen: "3k5/9/9/9/9/9/9/9/4A4/4K1EH1 r" }).fen).toBe(
      "3k5/9/9/9/9/9/9/9/4A4/4K1BN1 w - - 0 1",
    );
    expect(read({ fen, value_red_cp: -100 })).toMatchObject({ situation5: "Balanced" });
    expect(read({ fen, value_red_cp: -101 })).toMatchObject({
      situation5: "Slight_Adv_Black",
      situation3: "Advantage_Black",
    });
    expect(read({ fen, situation_5: "Clear_Adv_Red" }).situation3).toBe("Advantage_Red");
    const three = read({ fen, situation_3: "Advantage_Red" });
    expect([three.situation3, three.situation5]).toEqual(["Advantage_Red", undefined]);
    // Others may draw the lines elsewhere: their class counts, and no finer one contradicts it.
    const other = read({ fen, situation_3: "Balanced", value_red_cp: 120 });
    expect([other.situation3, other.situation5]).toEqual(["Balanced", undefined]);
  });

  it("may have moves as ICCS writes them", () => {
    const item = read({ fen: xiangqi.start, played: "H2-E2", best: " b0c2 " });
    expect(item).toMatchObject({ played: "h2e2", best: "b0c2" });
    const values = Object.fromEntries(
      legalNames(xiangqi.start).map((name) => [name.toUpperCase(), 0]),
    );
    expect(Object.keys(read({ fen: xiangqi.start, values }).values!)).toEqual(
      legalNames(xiangqi.start),
    );
  });
});

describe("published conversations", () => {
  // The form of build_xiangqi_sft_dataset.py of the re-implementation, shortened in its texts.
  const row = {
    messages: [
      { role: "system", content: "You are a Xiangqi (Chinese Chess) coach." },
      { role: "user", content: `FEN: ${xiangqi.start}` },
      {
        role: "assistant",
        content: "<think>\nscore 29\n</think>\nSituation: Balanced\nMove: h2e2",
      },
    ],
    meta: {
      fen: xiangqi.start,
      turn: "w",
      ply: 0,
      phase: "opening",
      winner: "unknown",
      played_uci: "b2e2",
      best_uci: "h2e2",
      root_cp_stm: 29.0,
      value_red_cp: 29.0,
      situation_3: "Balanced",
      situation_5: "Balanced",
      is_good_move: true,
      value_red_after_played_cp: 27.0,
      value_red_after_best_cp: 29.0,
      source: "pgn",
      headers: { Event: "?", Red: "A", Black: "B" },
    },
  };

  it("load unchanged, with all their labels", () => {
    const item = read(row);
    expect(item).toMatchObject({
      played: "b2e2",
      best: "h2e2",
      isGood: true,
      valueRed: 29,
      playedValueRed: 27,
      situation3: "Balanced",
      situation5: "Balanced",
      winner: "unknown",
      source: "pgn",
      headers: row.meta.headers,
      messages: row.messages.slice(0, 2),
      response: row.messages[2]!.content,
    });
    const config = configOf({ view: "mover" });
    expect(xiangqiTask.prompt(item, config)).toEqual(row.messages.slice(0, 2));
    const gold = xiangqiTask.gold(item, config, randomStream("gold"));
    expect(gold).toBe(row.messages[2]!.content);
    const score = (move: string) =>
      xiangqiTask.score(item, { text: gold.replace("h2e2", move), stopReason: "stop" }, config);
    expect(score("h2e2")).toMatchObject({ legal: 1, best: 1, good: 1, analysis: 1, format: 0 });
    expect(score("b2e2")).toMatchObject({ best: 0, good: 1 });
    expect(score("a0a1")).toMatchObject({ best: 0, good: null });
  });

  it("come back with their messages as they were", () => {
    expect(write(read(row))).toMatchObject({ messages: row.messages });
    expect(read(write(read(row)))).toEqual(read(row));
  });

  it("may have their fields beside the messages, and no answer", () => {
    const { meta, messages } = row;
    const flat = read({ ...meta, messages: messages.slice(0, 2) });
    expect(flat).toMatchObject({ best: "h2e2", messages: messages.slice(0, 2) });
    expect(flat.response).toBeUndefined();
    // All their fields are among those that are read from files.
    for (const field of [...Object.keys(meta), "messages", "meta"]) {
      expect(format.optionalFields.includes(field), field).toBe(field !== "root_cp_stm");
    }
  });

  const wrong: readonly (readonly [string, object, string])[] = [
    ["no list", { messages: "hello" }, 'field messages: expected array, got "hello"'],
    ["nothing", { messages: [] }, "field messages: expected array to have >=1 items, got []"],
    ["another role", { messages: [{ role: "bot", content: "" }] }, "field messages, field 0.role"],
    [
      "no text",
      { messages: [{ role: "user", content: 3 }] },
      "field messages, field 0.content: expected string, got 3",
    ],
    [
      "no user",
      { messages: row.messages.slice(2) },
      "field messages: expected a message of the user, got assistant",
    ],
    ["a meta that is none", { meta: "x" }, 'field meta: expected object, got "x"'],
    [
      "a wrong field in meta",
      { meta: { ...row.meta, best_uci: "a0a9" } },
      'field meta, field best_uci: expected a legal move as h2e2, got "a0a9"',
    ],
  ];
  it.each(wrong)("with %s are refused", (_name, change, message) => {
    const broken = () => read({ ...row, ...change });
    expect(broken).toThrow(DataError);
    expect(broken).toThrow(`rows.jsonl, ${message}`);
  });
});

describe("a wrong row", () => {
  const fen = "3k5/9/9/9/9/9/9/9/4A4/4K4 w - - 0 1";
  const good: Row = {
    fen,
    turn: "w",
    ply: 3,
    phase: "endgame",
    winner: "draw",
    played: "e1d2",
    best: "e1f2",
    value_red_cp: 12,
    situation_3: "Balanced",
    situation_5: "Balanced",
    is_good: true,
    values: { e1d2: 0, e1f2: 12, e1d0: 1, e1f0: 2, e0f0: 3 },
    comment: "quiet guard move",
    source: "invented",
    engine: "none",
    headers: {},
  };

  it("would be right without its fault", () => {
    expect(write(read(good))).toMatchObject(good);
  });

  it.each([
    ["fen", undefined, "expected string, got nothing"],
    ["fen", 7, "expected string, got 7"],
    ["fen", "3k5/9/9 w", "expected 10 ranks separated by /, got 3"],
    ["fen", fen.replace(" w", " x"), 'expected w (or r) or b as the side to move, got "x"'],
    ["fen", fen.replace("4A4", "4A5"), "expected 9 points in rank 1, got 10"],
    ["fen", fen.replace("3k5", "9"), "expected a Black general, got none"],
    ["fen", fen.replace("4A4", "9").replace("3k5", "4k4"), "expected Black, who does not move"],
    // Stalemate: no move to learn.
    ["fen", "3k5/4P4/9/9/9/9/9/9/9/4K4 b", "expected a position with a legal move"],
    ["turn", "b", 'expected w, as in the FEN, got "b"'],
    ["turn", "red", 'expected one of "w"|"b", got "red"'],
    ["ply", -1, "got -1"],
    ["ply", 2.5, "expected int, got 2.5"],
    ["phase", "late", 'expected one of "opening"|"middlegame"|"endgame", got "late"'],
    ["winner", "1-0", 'got "1-0"'],
    ["played", "e1e2", 'expected a legal move as h2e2, got "e1e2"'],
    // The general would face the other one.
    ["played", "e0d0", 'expected a legal move as h2e2, got "e0d0"'],
    ["played", "A4+5", 'expected a legal move as h2e2, got "A4+5"'],
    ["played", 12, "expected string, got 12"],
    ["best", "d9d8", 'expected a legal move as h2e2, got "d9d8"'],
    ["best", "e1f3", 'got "e1f3"'],
    ["value_red_cp", "12", 'expected number, got "12"'],
    ["value_red_after_played_cp", "12", 'expected number, got "12"'],
    ["value_red_after_best_cp", "12", 'expected number, got "12"'],
    ["situation_3", "Red", 'got "Red"'],
    ["situation_3", "Advantage_Red", 'expected Balanced, got "Advantage_Red"'],
    ["situation_5", "Advantage_Red", 'got "Advantage_Red"'],
    ["is_good", "yes", 'expected boolean, got "yes"'],
    ["values", [1, 2], "expected record, got [1,2]"],
    ["values", { e1d2: 0 }, "expected a value of each of the 5 legal moves, got 1"],
    ["values", {}, "expected a value of each of the 5 legal moves, got 0"],
    ["comment", 1, "expected string, got 1"],
    ["source", 1, "expected string, got 1"],
    ["engine", {}, "expected string, got {}"],
    ["headers", [], "expected record, got []"],
  ])("with a wrong %s is named: %j", (field, wrong, message) => {
    const broken = () => read({ ...good, [field]: wrong });
    expect(broken).toThrow(DataError);
    expect(broken).toThrow(`rows.jsonl, field ${field}`);
    expect(broken).toThrow(message);
  });

  it("with a wrong value inside a field is named down to it", () => {
    const values = { e1d2: 0, e1f2: 12, e1d0: 1, e1f0: 2, e0f0: 3 };
    expect(() => read({ ...good, values: { ...values, e1f2: "12" } })).toThrow(
      'rows.jsonl, field values.e1f2: expected number, got "12"',
    );
    expect(() => read({ ...good, values: { ...values, e1e2: 5 } })).toThrow(
      'rows.jsonl, field values: expected a legal move as h2e2, got "e1e2"',
    );
    expect(() => read({ ...good, headers: { Event: 3 } })).toThrow("field headers.Event");
  });

  it("with a value that favours the other side is refused: its sign is the mover's", () => {
    const black = { fen: fen.replace(" w", " b"), value_red_cp: 900 };
    for (const named of [{ situation_3: "Advantage_Black" }, { situation_5: "Slight_Adv_Black" }]) {
      expect(() => read({ ...black, ...named })).toThrow(
        `rows.jsonl, field value_red_cp: expected a value for Red that goes with ${Object.values(named)[0]}, got 900`,
      );
      expect(() => read({ ...black, ...named, value_red_cp: -900 })).not.toThrow();
    }
  });

  it("never passes silently, whatever a field holds: it is read, or refused with its name", () => {
    const anything = fc.oneof(
      fc.constantFrom("", "h2e2", "e1d2", "Balanced", "w", {}, [], null, Number.NaN),
      fc.jsonValue(),
    );
    const fields = format.optionalFields.filter((field) => field !== "meta");
    fc.assert(
      fc.property(fc.constantFrom(...fields), anything, (field, held) => {
        try {
          const item = read({ ...good, [field]: held });
          expect(write(read(write(item)))).toEqual(write(item));
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
          expect((error as Error).message).toMatch(/^rows\.jsonl, field \w+/);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
