import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomStream } from "../../../core/random.ts";
import { playRandomGame, randomTandems } from "../../../../tests/xiangqi-positions.ts";
import { parseFen } from "../rules/fen.ts";
import { type Move, type Position } from "../rules/position.ts";
import { minixiangqi, xiangqi } from "../rules/variant.ts";
import { parseChinese } from "./chinese.ts";
import { parseCoordinates } from "./coordinates.ts";
import { formatMove, notationNames, parseMove } from "./parse-move.ts";
import { parseWxf } from "./wxf.ts";

const start = parseFen(xiangqi.start).position;

describe("moves in any notation", () => {
  // The moves before it, the move, WXF, Chinese.
  test.each([
    ["", "h2e2", "C2=5", "炮二平五"],
    ["h2e2", "h7e7", "C8=5", "炮8平5"],
    ["h2e2 h7e7", "e2e6", "C5+4", "炮五进四"],
    ["h2e2 h7e7 e2e6", "d9e8", "A4+5", "士4进5"],
    ["", "b0c2", "H8+7", "马八进七"],
    ["b0c2", "b9c7", "H2+3", "马2进3"],
    ["", "c3c4", "P7+1", "兵七进一"],
    ["h2e2", "h9g7", "H8+7", "马8进7"],
    ["", "h0g2", "H2+3", "马二进三"],
    ["h2e2", "c9e7", "E3+5", "象3进5"],
    ["", "a0a2", "R9+2", "车九进二"],
    ["h2e2 h9g7 h0g2", "i9h9", "R9=8", "车9平8"],
    ["", "h2h9", "C2+7", "炮二进七"],
  ])("after %j, %s is %s and %s", (before, coordinates, wxf, chinese) => {
    const { position } = parseFen(xiangqi.start);
    for (const text of before.split(" ")) {
      if (text !== "") position.make(parseMove(position, text)!);
    }
    const move = parseCoordinates(coordinates)!;
    const iccs = `${coordinates.slice(0, 2)}-${coordinates.slice(2)}`.toUpperCase();
    const texts = { coordinates, iccs, wxf, chinese };
    for (const notation of notationNames) {
      expect(formatMove(position, move, notation)).toBe(texts[notation]);
      expect(parseMove(position, texts[notation])).toBe(move);
    }
  });

  test.each(["h2e2", "H2-E2", "C2=5", "c2.5", "炮二平五"])("%s is h2e2", (text) =>
    expect(parseMove(start, text)).toBe(parseCoordinates("h2e2")),
  );

  test.each(["h2e3", "h2h2", "a0a9", "i2e2", "h3e3", "C2=9", "炮二平九", "", "Move: h2e2"])(
    "%j is no legal move",
    (text) => expect(parseMove(start, text)).toBeNull(),
  );

  test("every legal move reads back", () => {
    const readsBack = (position: Position, legal: readonly Move[]): void => {
      for (const notation of notationNames) {
        const texts = legal.map((move) => formatMove(position, move, notation));
        expect(new Set(texts).size).toBe(texts.length);
        expect(texts.map((text) => parseMove(position, text))).toEqual(legal);
      }
    };
    const random = randomStream("notation round trip");
    for (let game = 0; game < 2; game++) playRandomGame(random, 100, readsBack);
    playRandomGame(random, 40, readsBack, minixiangqi);
    for (let index = 0; index < 120; index++) {
      const position = randomTandems(random, index % 3 === 0 ? minixiangqi : xiangqi);
      readsBack(position, position.legalMoves());
    }
  });

  test("no text makes it fail, and what it reads is legal", () => {
    const alphabet =
      "abcdehiKAEHRCPGS0123456789+-=. 帅將仕士相象马傌车炮包兵卒前中后後进退平上下一二五九１５";
    const unit = fc.constantFrom(...Array.from(alphabet));
    const texts = fc.oneof(
      fc.string({ unit: "binary", maxLength: 8 }),
      fc.string({ unit, minLength: 3, maxLength: 6 }),
    );
    const tandems = fc.nat().map((seed) => randomTandems(randomStream("random texts", seed)));
    fc.assert(
      fc.property(fc.oneof(fc.constant(start), tandems), texts, (position, text) => {
        for (const parse of [parseMove, parseWxf, parseChinese]) {
          const move = parse(position, text);
          expect(move === null || position.isLegal(move)).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
    const mutations = fc.record({
      position: tandems,
      pick: fc.nat(),
      notation: fc.constantFrom(...notationNames),
      at: fc.nat({ max: 4 }),
      letter: unit,
    });
    fc.assert(
      fc.property(mutations, ({ position, pick, notation, at, letter }) => {
        const legal = position.legalMoves();
        if (legal.length === 0) return;
        const text = formatMove(position, legal[pick % legal.length]!, notation);
        for (const changed of [
          text.slice(0, at) + letter + text.slice(at + 1),
          text.slice(0, at) + text.slice(at + 1),
          text.slice(0, at) + letter + text.slice(at),
        ]) {
          const move = parseMove(position, changed);
          expect(move === null || legal.includes(move)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});
