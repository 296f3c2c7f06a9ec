// A position with what is known of it.

import type { Message } from "../../core/messages.ts";
import type { Analysis } from "./engines/engine.ts";
import { parseFen } from "./rules/fen.ts";
import { type Position, RED } from "./rules/position.ts";
import { type Side, variants, type Variant } from "./rules/variant.ts";
import { coarse, situationOf, type Situation3, type Situation5 } from "./situation.ts";

export type Phase = "opening" | "middlegame" | "endgame";
export const phases: readonly Phase[] = ["opening", "middlegame", "endgame"];

/** Centipawns that a good move may lose against the best one. Paper: σ_good. */
export const GOOD_LOSS = 100;

/** Source: the published rows' rule: fewer than 20 plies, fewer than 60. */
export const phaseOf = (ply: number): Phase =>
  ply < 20 ? "opening" : ply < 60 ? "middlegame" : "endgame";

/** Plies before a position, by the number of the move it stands at. */
export const plyOf = (moveNumber: number, side: Side): number => 2 * (moveNumber - 1) + side;

export interface XiangqiItem {
  readonly fen: string;
  readonly ply: number;
  readonly phase: Phase;
  readonly winner: "red" | "black" | "draw" | "unknown";
  /** The move of the game, as `h2e2`. */
  readonly played?: string | undefined;
  /** The engine's move. */
  readonly best?: string | undefined;
  /** Centipawns for Red at the root. */
  readonly valueRed?: number | undefined;
  readonly situation3?: Situation3 | undefined;
  readonly situation5?: Situation5 | undefined;
  /** Whether the played move is good, where the value of every move is not known. */
  readonly isGood?: boolean | undefined;
  /** Centipawns for Red after the played move. */
  readonly playedValueRed?: number | undefined;
  /** Centipawns for the mover after every legal move. */
  readonly values?: Readonly<Record<string, number>> | undefined;
  readonly comment?: string | undefined;
  /** Where the position comes from. */
  readonly source?: string | undefined;
  /** Who judged it, and how deep. */
  readonly engine?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Prompt of a published row, shown as it is. */
  readonly messages?: readonly Message[] | undefined;
  /** Gold answer of a published row, as it is. */
  readonly response?: string | undefined;
}

/** The position of an item. Its FEN was checked when the item was made. */
export const positionOf = (item: XiangqiItem, variant: Variant): Position =>
  parseFen(item.fen, { variant }).position;

export const variantOf = (config: { readonly variant: keyof typeof variants }): Variant =>
  variants[config.variant];

/** What an analysis of every move says of a position with Red or Black to move. */
export function labelsOf(
  position: Position,
  { lines, depth }: Analysis,
  engine: string,
): Pick<XiangqiItem, "best" | "valueRed" | "situation3" | "situation5" | "values" | "engine"> {
  const best = lines[0]!;
  const valueRed = position.side === RED ? best.value : -best.value;
  const situation5 = situationOf(valueRed);
  const values = Object.fromEntries(lines.map(({ move, value }) => [move, value]));
  const situation3 = coarse(situation5);
  return {
    best: best.move,
    valueRed,
    situation3,
    situation5,
    values,
    engine: `${engine}, depth ${depth}`,
  };
}
