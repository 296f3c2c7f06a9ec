// UCCI 3.0, as ElephantEye speaks it (xqbase.com, Chinese Chess computer standards, part 5, 2007).
//
// A score counts 100 for a minor piece, a horse or a cannon. Ours count 400 and 450 for those: 1 point = 4.25 centipawns, with which
// ElephantEye's chariot, 206 points, comes to 876 of our 900. Nothing is said of mates; ElephantEye's are ±(10,000 − plies), and
// searches end for it beyond ±9,800. Fairy-Stockfish, asked for UCCI, says `cp` and `mate` as in UCI.

import type { EngineProtocol } from "./engine-protocol.ts";
import { findOption } from "./engine-option.ts";

export const ucci: EngineProtocol = {
  name: "ucci",
  hello: "ucci",
  helloAnswer: "ucciok",
  optionPrefix: "option ",
  setOption: ({ name, type }, value) => `setoption ${name}${type === "button" ? "" : ` ${value}`}`,
  newGame: (options) => {
    // Fairy-Stockfish has the second only.
    const button = findOption(options, "newgame") ?? findOption(options, "Clear_Hash");
    return button === undefined ? [] : [`setoption ${button.name}`];
  },
  bookOption: "usebook",
  centipawnsPerPoint: 4.25,
  pointsOfMate: 9_800,
};
