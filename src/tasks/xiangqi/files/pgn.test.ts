import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatCoordinates } from "../notation/coordinates.ts";
import { notationNames } from "../notation/parse-move.ts";
import { formatFen, parseFen } from "../rules/fen.ts";
import type { Move } from "../rules/position.ts";
import { type Variant, variants } from "../rules/variant.ts";
import { decodeBytes } from "./decode-bytes.ts";
import { formatPgn } from "./format-pgn.ts";
import { type PgnGame, type PgnResult, readPgn, resultTexts } from "./pgn.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (text: string): ReturnType<typeof readPgn> => readPgn(utf8(text), { file: "a.pgn" });

/** Bytes of GB18030 by character: all of one and two bytes, which the platform can only decode. */
const gbBytes = ((): ReadonlyMap<string, readonly number[]> => {
  const decoder = new TextDecoder("gb18030");
  const bytes = new Map<string, readonly number[]>();
  for (let byte = 0; byte < 128; byte++) bytes.set(String.fromCharCode(byte), [byte]);
  for (let first = 0x81; first < 0xff; first++) {
    for (let second = 0x40; second < 0xff; second++) {
      const letter = decoder.decode(Uint8Array.of(first, second));
      if (letter.length === 1) bytes.set(letter, [first, second]);
    }
  }
  return bytes;
})();
const gb18030 = (text: string): Uint8Array =>
  Uint8Array.from(Array.from(text).flatMap((letter) => gbBytes.get(letter)!));

/** A game of moves drawn by `choices`, comments behind some of them. */
function drawnGame(
  variant: Variant,
  choices: readonly number[],
  skipped: number,
  result: PgnResult,
  remarks: readonly string[],
  players: readonly string[],
): PgnGame {
  const { position } = parseFen(variant.start, { variant });
  const moves: Move[] = [];
  let start = variant.start;
  choices.forEach((choice, index) => {
    const legal = position.legalMoves();
    if (index === skipped) {
      position.setTurn(position.side, 0);
      start = formatFen(position, 7);
      moves.length = 0;
    }
    if (legal.length === 0) return;
    const move = legal[choice % legal.length]!;
    position.make(move);
    moves.push(move);
  });
  const texts = remarks.map((text, index) => [(index * 3) % (moves.length + 1), text] as const);
  const tags: Record<string, string> = { Game: "Chinese Chess", Red: players[0]!, ECCO: "C48" };
  tags["Result"] = resultTexts[result];
  if (variant.name !== "xiangqi") tags["Variant"] = variant.name;
  if (start !== variant.start) tags["FEN"] = start;
  tags["事件"] = players[1]!;
  return { tags, variant: variant.name, start, moves, result, comments: Object.fromEntries(texts) };
}

const oneLine = (text: string): string => text.replaceAll(/[\r\n]/g, " ");
/** Comments as `readPgn` gives them: nothing to trim, not empty. */
const remark = fc
  .array(
    fc.oneof(fc.string(), fc.constantFrom('[Red "x"]', "a } b", "{", "; 1-0", "马八进七。", "")),
  )
  .map((lines) =>
    lines
      .map((line) => oneLine(line).trim())
      .join("\n")
      .trim(),
  )
  .filter((text) => text !== "");

const game = fc
  .tuple(
    fc.constantFrom(variants.xiangqi, variants.minixiangqi),
    fc.array(fc.nat(10_000), { maxLength: 40 }),
    fc.integer({ min: -3, max: 20 }),
    fc.constantFrom<PgnResult>("red", "black", "draw", "unknown"),
    fc.array(remark, { maxLength: 4 }),
    fc.array(fc.string().map(oneLine), { minLength: 2, maxLength: 2 }),
  )
  .map((parts) => drawnGame(...parts));

const withFormat = (one: PgnGame, format: string): PgnGame => ({
  ...one,
  tags: { ...one.tags, Format: format },
});
const formats = { coordinates: "ICCS", iccs: "ICCS", wxf: "WXF", chinese: "Chinese" } as const;
/** Without its place in the file. */
const plain = ({ tags, variant, start, moves, comments, result }: PgnGame): PgnGame => ({
  tags,
  variant,
  start,
  moves,
  comments,
  result,
});
const iccs = ({ moves, variant }: PgnGame): string =>
  moves.map((move) => formatCoordinates(move, variants[variant])).join(" ");

describe("a game that was written", () => {
  it.each(notationNames)("reads back the same in %s, in UTF-8 and in GB18030", (notation) => {
    fc.assert(
      fc.property(fc.array(game, { maxLength: 3 }), (games) => {
        const text = games.map((one) => formatPgn(one, notation)).join("\n");
        const expected = games.map((one) => withFormat(one, formats[notation]));
        for (const bytes of [utf8(text), gb18030(text)]) {
          const { games: found, faults } = readPgn(bytes);
          expect(faults).toEqual([]);
          expect(found.map(plain)).toEqual(expected);
          expect(found.map((one) => formatPgn(one, notation)).join("\n")).toBe(text);
        }
      }),
      { numRuns: 25 },
    );
  });

  it("stands in rounds, with the number at which Black goes on", () => {
    const { games } = read(`[Red "A \\"b\\" \\\\"]
[FEN "4k4/9/9/9/9/9/9/9/4A4/4K4 b - - 3 12"]
12... e9d9 {[Red "x"]
 [Black "y"]} 13. e1d2 d9d8 ; with } in it
14. d2e1 *`);
    expect(formatPgn(games[0]!, "wxf")).toBe(`[Game "Chinese Chess"]
[Red "A \\"b\\" \\\\"]
[FEN "4k4/9/9/9/9/9/9/9/4A4/4K4 b - - 3 12"]
[Result "*"]
[Format "WXF"]

12... K5=4
{ [Red "x"]
 [Black "y"]}
13. A5+6 K4+1
; with } in it
14. A6-5
*
`);
  });

  it("must be one that a file can hold", () => {
    const { games } = read("1. h2e2 *");
    const good = games[0]!;
    const broken: readonly (readonly [Partial<PgnGame>, string])[] = [
      [{ moves: [9999] }, "formatPgn, ply 1: expected a legal move, got 9999"],
      [{ comments: { 2: "late" } }, "formatPgn: expected comments by ply, up to 1, got 2"],
      [{ tags: { "two words": "" } }, "formatPgn: expected a tag of one line"],
      [{ tags: { Red: "two\nlines" } }, "formatPgn: expected a tag of one line"],
    ];
    for (const [change, message] of broken) {
      expect(() => formatPgn({ ...good, ...change })).toThrow(message);
    }
  });
});

describe("a collection", () => {
  it("is read in every way in which people write it", () => {
    const { games, faults } = read(`\uFEFF; made by hand
[Game "Chinese Chess"][Event "The "Five Rams" Cup"]\r
[Red "A"]
[Result "1-0"]
[Format "WXF"]

{Before
   the moves.}
1. H2-E2! h9g7 $14 2.Ｈ２＋３ ?! 车9平8
   (2... R1+1 {no } (3. nonsense) ; nor ) this
    3. h0h1)
% not for readers )
3.兵七进一卒7进1 {a}{b} ; c
4. 馬八進七+ H7+6!? {x} 1-0 {after it}

[Event "no result"]
1 c2.5 1... 炮２平５
2. … 

[Event "nobody moved"]

[event "nobody moved here either"]
[FEN ""]
[Result "?"]
*`);
    expect(faults).toEqual([]);
    expect(games.map(({ number, line }) => [number, line])).toEqual([
      [1, 1],
      [2, 16],
      [3, 20],
      [4, 22],
    ]);
    expect(games.map(iccs)).toEqual([
      "h2e2 h9g7 h0g2 i9h9 c3c4 g6g5 b0c2 g7f5",
      "h2e2 b7e7",
      "",
      "",
    ]);
    expect(games[0]!.tags).toEqual({
      Game: "Chinese Chess",
      Event: 'The "Five Rams" Cup',
      Red: "A",
      Result: "1-0",
      Format: "WXF",
    });
    expect(games.map((one) => one.result)).toEqual(["red", "unknown", "unknown", "unknown"]);
    expect(games[0]!.comments).toEqual({
      0: "made by hand\nBefore\nthe moves.",
      6: "a\nb\nc",
      8: "x\nafter it",
    });
  });

  it("may begin without tags, and say the result only once", () => {
    const { games, faults } = read(
      '1. h2e2 0-1 1. b2e2 1/2-1/2\n[Result "0-1"]\n1. c3c4\n[Result "1-0"]\n*',
    );
    expect(faults).toEqual([]);
    expect(games.map((one) => `${iccs(one)} ${one.result}`)).toEqual([
      "h2e2 black",
      "b2e2 draw",
      "c3c4 black",
      " red",
    ]);
  });

  it("has the board that a tag or the options say", () => {
    const text = '[Variant "MiniXiangqi"]\n1. b0b3 *\n[Event "x"]\n1. b0b3 *\n';
    const mini = readPgn(utf8(text), { variant: variants.minixiangqi });
    expect(mini.games.map((one) => one.variant)).toEqual(["minixiangqi", "minixiangqi"]);
    const { games, faults } = read(text);
    expect(games.map(({ variant, start }) => [variant, start])).toEqual([
      ["minixiangqi", variants.minixiangqi.start],
    ]);
    expect(faults.map((fault) => fault.game)).toEqual([2]);
  });

  const good = '[Event "good"]\n\n1. h2e2 {x} h9g7 1-0\n\n';
  it.each([
    [
      "h2e9",
      8,
      2,
      'line 8, game 2, ply 2: expected a legal move of Black, or a result, got "h2e9"',
    ],
    ["wh@t", 8, 2, 'ply 2: expected a legal move of Black, or a result, got "wh@t"'],
    ["马8进7马9进7", 8, 3, 'ply 3: expected a legal move of Red, or a result, got "马9进7"'],
    ["2-0", 8, 2, 'ply 2: expected a result (1-0, 0-1, 1/2-1/2, *), got "2-0"'],
    ["0-1", 8, 2, "ply 2: expected 1-0, the result of the tag, got 0-1"],
    ["{never closed", 8, 2, 'expected a } that closes the comment, got "{never closed'],
    ["(1... h9g7 {closed} (", 8, 2, "expected a ) that closes the variation, got"],
    ["h9g7 ) 1-0", 8, 3, 'ply 3: expected a legal move of Red, or a result, got ")"'],
    ["h9g7 [x] 1-0", 8, 3, 'got "["'],
  ])("loads but for the broken game: %s", (broken, line, ply, message) => {
    const bad = `[Event "bad"]\n[Result "1-0"]\n1. h2e2\n${broken}\n\n`;
    const { games, faults } = read(`${good}${bad}${good}`);
    expect(games.map(({ number, tags }) => [number, tags["Event"]])).toEqual([
      [1, "good"],
      [3, "good"],
    ]);
    expect(games.map(iccs)).toEqual(["h2e2 h9g7", "h2e2 h9g7"]);
    expect(faults).toEqual([
      { file: "a.pgn", line, game: 2, ply, message: expect.stringContaining(message) as string },
    ]);
    expect(faults[0]!.message).toMatch(new RegExp(`^a.pgn, line ${line}, game 2, ply ${ply}: `));
  });

  it.each([
    ['[FEN "9/9 w"]', "line 6, game 2: FEN: expected 10 ranks separated by /, got 2"],
    ['[Result "won"]', 'line 6, game 2: expected a result (1-0, 0-1, 1/2-1/2, *), got "won"'],
    ['[Red "no end]', "line 6, game 2: expected a tag [Name "],
    ["[Red]", "line 6, game 2: expected a tag [Name "],
    ['[event "again"]', 'line 6, game 2: expected one tag "event" a game, got another in line 5'],
    ['[Variant "manchu"]', "line 6, game 2: expected a variant (xiangqi or minixiangqi)"],
  ])("names the tag of a broken game: %s", (tag, message) => {
    const { games, faults } = read(`${good}[Event "bad"]\n${tag}\n1. h2e2 *\n${good}`);
    expect(games.map((one) => one.tags["Event"])).toEqual(["good", "good"]);
    expect(faults).toEqual([
      {
        file: "a.pgn",
        line: 6,
        game: 2,
        ply: 0,
        message: expect.stringContaining(message) as string,
      },
    ]);
  });

  it("names text that belongs to no game, and loads the games around it", () => {
    const { games, faults } = read(
      `list of games {all}\n\n${good}=====\n{see} http://a.b\n\n${good}h2e2`,
    );
    expect(games).toHaveLength(2);
    expect(faults.map((fault) => fault.message)).toEqual([
      'a.pgn, line 1: expected a tag or a move number, got "list of games {…}"',
      'a.pgn, line 7: expected a tag or a move number, got "===== {…} http://a.b"',
      'a.pgn, line 14: expected a tag or a move number, got "h2e2"',
    ]);
    expect(faults.map(({ game: number, ply }) => [number, ply])).toEqual([
      [null, null],
      [null, null],
      [null, null],
    ]);
    expect(read("{no game}").faults).toHaveLength(1);
    expect(read("")).toEqual({ games: [], faults: [] });
  });
});

describe("bytes", () => {
  const chinese = '[Red "许银川"]\n1. 炮二平五 {红方首着} 马８进７ *\n';

  it.each([
    ["utf-8", utf8(chinese)],
    ["utf-8", utf8(`\uFEFF${chinese}`)],
    ["utf-8", utf8(chinese.replaceAll("\n", "\r\n"))],
    ["utf-8", utf8(chinese.replaceAll("\n", "\r"))],
    ["gb18030", gb18030(chinese)],
    ["gb18030", gb18030(chinese.replaceAll("\n", "\r\n"))],
  ])("are read as %s", (encoding, bytes) => {
    expect(decodeBytes(bytes).encoding).toBe(encoding);
    const { games, faults } = readPgn(bytes);
    expect(faults).toEqual([]);
    expect(games[0]!.tags).toEqual({ Red: "许银川" });
    expect(games[0]!.comments).toEqual({ 1: "红方首着" });
    expect(iccs(games[0]!)).toBe("h2e2 h9g7");
  });

  it("that are no text break only their own game", () => {
    const bytes = Uint8Array.from([
      ...gb18030(`${chinese}[Red "`),
      0xff,
      ...gb18030(`"]\n*\n${chinese}`),
    ]);
    const { games, faults } = readPgn(bytes);
    expect(games.map((one) => one.number)).toEqual([1, 3]);
    expect(faults.map((fault) => fault.message)).toEqual([
      "PGN, line 3, game 2: expected text in UTF-8 or GB18030, got bytes that are neither",
    ]);
  });

  it("may end inside a character", () => {
    const { games, faults } = readPgn(utf8(`${chinese}${chinese}`).subarray(0, -2 - 2 - 1));
    expect(games.map((one) => one.tags)).toEqual([{ Red: "许银川" }]);
    expect(faults.map((fault) => [fault.game, fault.line])).toEqual([[2, 4]]);
  });

  it("never make it throw, and of a file that was cut, the games before the cut are there", () => {
    const whole = fc.tuple(
      fc.array(game, { minLength: 1, maxLength: 3 }),
      fc.constantFrom(...notationNames),
      fc.boolean(),
      fc.nat(),
    );
    fc.assert(
      fc.property(whole, ([games, notation, isUtf8, cut]) => {
        const texts = games.map((one) => formatPgn(one, notation));
        const encode = isUtf8 ? utf8 : gb18030;
        const bytes = encode(texts.join(""));
        const length = cut % bytes.length;
        const complete = texts.filter(
          (_, index) => encode(texts.slice(0, index + 1).join("")).length <= length,
        ).length;
        const { games: found, faults } = readPgn(bytes.subarray(0, length));
        const expected = games.slice(0, complete).map((one) => withFormat(one, formats[notation]));
        expect(found.slice(0, complete).map(plain)).toEqual(expected);
        expect(found.length + faults.length - complete).toBeLessThanOrEqual(1);
      }),
      { numRuns: 60 },
    );
  });

  it("at random are faults", () => {
    const words = fc.constantFrom(
      "[",
      "]",
      '"',
      "{",
      "}",
      "(",
      ")",
      ";",
      "%",
      "\n",
      "1.",
      "*",
      "h2e2",
      '[A "',
      "\\",
    );
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.array(words, { maxLength: 60 }).map((parts) => utf8(parts.join(""))),
      fc.array(words, { maxLength: 60 }).map((parts) => utf8(parts.join(" "))),
    );
    fc.assert(
      fc.property(noise, (bytes) => {
        const { games, faults } = readPgn(bytes, { file: "noise" });
        for (const fault of faults) {
          expect(fault.message).toMatch(
            /^noise, line \d+(?:, game \d+(?:, ply \d+)?)?: .*expected [^]*, got /,
          );
        }
        const isBlank = decodeBytes(bytes)
          .text.split("\n")
          .every((line) => /^(?:%.*|\s*)$/.test(line));
        if (!isBlank && !/^[%(;{]/m.test(decodeBytes(bytes).text)) {
          expect(games.length + faults.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 400 },
    );
  });
});
