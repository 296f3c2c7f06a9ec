// What the two protocols of Xiangqi engines say differently; all else they have in common.

import type { EngineOption } from "./engine-option.ts";

export interface EngineProtocol {
  readonly name: "uci" | "ucci";
  /** Begins the conversation. */
  readonly hello: string;
  /** Ends what the engine says of itself. */
  readonly helloAnswer: string;
  /** What precedes the name in the line of an option. */
  readonly optionPrefix: string;
  setOption(option: EngineOption, value: string): string;
  /** Makes the engine forget the positions before: values must not depend on what else was asked. */
  newGame(options: readonly EngineOption[]): readonly string[];
  /** Set when the engine has the option and the caller says nothing: moves of an opening book come without a value. */
  readonly bookOption: string;
  /** Centipawns of 1 in `score 1`; null: a score has to say what it is. */
  readonly centipawnsPerPoint: number | null;
  /** Scores like `score 9995` beyond this are mates, 10,000 less the plies to them. */
  readonly pointsOfMate: number;
}
