import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { randomStream } from "../../core/random.ts";
import { formatCoordinates, parseCoordinates } from "./notation/coordinates.ts";
import { formatFen, parseFen } from "./rules/fen.ts";
import { type Position, RED } from "./rules/position.ts";
import { minixiangqi, xiangqi } from "./rules/variant.ts";
import { randomPosition } from "./self-play.ts";
import { mirrorPosition, moverView, positionKey, turnMove, turnPosition } from "./view.ts";

const bounds = { minPieces: 4, maxPieces: 20, maxImbalance: 2_000 };
const positions = fc
  .record({ seed: fc.nat(), variant: fc.constantFrom(xiangqi, minixiangqi) })
  .map(({ seed, variant }) =>
    randomPosition(randomStream("view test", seed), variant, {
      ...bounds,
      depths: [1],
      randomShare: 0,
      maxPlies: 1,
    }),
  );

/** A position turned by half, worked out on the letters of its FEN. */
function turnedText(fen: string): string {
  const [placement, turn, ...rest] = fen.split(" ");
  const exchanged = Array.from(placement!, (letter) =>
    letter === letter.toUpperCase() ? letter.toLowerCase() : letter.toUpperCase(),
  );
  return [exchanged.reverse().join(""), turn === "w" ? "b" : "w", ...rest].join(" ");
}

function mirroredText(fen: string): string {
  const [placement, ...rest] = fen.split(" ");
  const ranks = placement!.split("/").map((rank) => Array.from(rank).reverse().join(""));
  return [ranks.join("/"), ...rest].join(" ");
}

const names = (position: Position, moves: readonly number[]): string[] =>
  moves.map((move) => formatCoordinates(move, position.variant)).sort();

describe("turning and mirroring", () => {
  it("does what it does to the text of a FEN, and undoes itself", () => {
    fc.assert(
      fc.property(positions, (position) => {
        const fen = formatFen(position);
        expect(formatFen(turnPosition(position))).toBe(turnedText(fen));
        expect(formatFen(mirrorPosition(position))).toBe(mirroredText(fen));
        expect(formatFen(turnPosition(turnPosition(position)))).toBe(fen);
        expect(formatFen(mirrorPosition(mirrorPosition(position)))).toBe(fen);
        expect(formatFen(position)).toBe(fen);
      }),
    );
  });

  it("turns the legal moves with the board", () => {
    fc.assert(
      fc.property(positions, (position) => {
        const turned = turnPosition(position);
        const expected = position.legalMoves().map((move) => turnMove(move, position.variant));
        expect(names(position, turned.legalMoves())).toEqual(names(position, expected));
      }),
    );
  });

  it("turns moves: Red's cannon to the middle is Black's", () => {
    const turned = (move: string, variant = xiangqi): string =>
      formatCoordinates(turnMove(parseCoordinates(move, variant)!, variant), variant);
    expect(turned("h2e2")).toBe("b7e7");
    expect(turned("a0a9")).toBe("i9i0");
    expect(turned("b0b3", minixiangqi)).toBe("f6f3");
  });

  it("keeps the plies since the last capture", () => {
    const { position } = parseFen("4k4/9/9/9/9/9/9/9/4A4/3RK4 b - - 17 40");
    expect(turnPosition(position).quietPlies).toBe(17);
    expect(mirrorPosition(position).quietPlies).toBe(17);
  });
});

describe("moverView", () => {
  it("has Red to move, and leaves Red's positions as they are", () => {
    fc.assert(
      fc.property(positions, (position) => {
        const seen = moverView(position);
        expect(seen.side).toBe(RED);
        expect(formatFen(seen)).toBe(
          position.side === RED ? formatFen(position) : turnedText(formatFen(position)),
        );
      }),
    );
  });
});

describe("positionKey", () => {
  it("is one for mirror images and for exchanged colours", () => {
    fc.assert(
      fc.property(positions, (position) => {
        const key = positionKey(position);
        const turned = turnPosition(position);
        for (const same of [turned, mirrorPosition(position), mirrorPosition(turned)]) {
          expect(positionKey(same)).toBe(key);
        }
      }),
    );
  });

  it("is another one for another position, or another side to move", () => {
    const keyOf = (fen: string): string => positionKey(parseFen(fen).position);
    const fen = "5k3/9/9/9/9/9/9/2N6/9/3RK4 w";
    expect(keyOf(fen.replace("w", "b"))).not.toBe(keyOf(fen));
    expect(keyOf("5k3/9/9/9/9/9/9/1N7/9/3RK4 w")).not.toBe(keyOf(fen));
    // Counters are not part of it; the first position looks the same from both ends.
    expect(keyOf(`${fen} - - 30 20`)).toBe(keyOf(fen));
    expect(keyOf(xiangqi.start.replace("w", "b"))).toBe(keyOf(xiangqi.start));
  });
});
