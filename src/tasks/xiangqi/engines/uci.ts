// UCI, as Pikafish and Fairy-Stockfish speak it. Specification: R. Huber and S. Meyer-Kahlen, April 2006.

import type { EngineProtocol } from "./engine-protocol.ts";

export const uci: EngineProtocol = {
  name: "uci",
  hello: "uci",
  helloAnswer: "uciok",
  optionPrefix: "option name ",
  setOption: ({ name, type }, value) =>
    `setoption name ${name}${type === "button" ? "" : ` value ${value}`}`,
  newGame: () => ["ucinewgame"],
  bookOption: "OwnBook",
  centipawnsPerPoint: null,
  pointsOfMate: Infinity,
};
