// Games as PGN text that `readPgn` reads again.

import { DataError, shownJson } from "../../../core/errors.ts";
import { formatMove, type Notation } from "../notation/parse-move.ts";
import { parseFen } from "../rules/fen.ts";
import { RED, variants } from "../rules/variant.ts";
import { plainComment } from "./pgn-tokens.ts";
import { type PgnGame, resultTexts } from "./pgn.ts";

/** Values of the tag Format. The standard knows three; readers of ICCS take plain coordinates as well. */
const formats: Readonly<Record<Notation, string>> = {
  chinese: "Chinese",
  wxf: "WXF",
  iccs: "ICCS",
  coordinates: "ICCS",
};

interface OwnTag {
  readonly name: string;
  readonly value: string;
  /** Written even if the game has no such tag. */
  readonly isNeeded: boolean;
}

/** The tags that follow from the rest of the game and from the notation. */
function ownTags({ variant, start, result }: PgnGame, notation: Notation): readonly OwnTag[] {
  const isOtherStart = start !== variants[variant].start;
  return [
    { name: "Game", value: "Chinese Chess", isNeeded: true },
    { name: "Result", value: resultTexts[result], isNeeded: true },
    { name: "Variant", value: variant, isNeeded: variant !== "xiangqi" },
    { name: "FEN", value: start, isNeeded: isOtherStart },
    { name: "Format", value: formats[notation], isNeeded: true },
  ];
}

function formatTag(name: string, value: string): string {
  if (!/^[^\s"[\]]+$/.test(name) || value.includes("\n") || value.includes("\r")) {
    const expected = "a tag of one line, its name without white space, quotes and brackets";
    throw new DataError({ where: "formatPgn", expected, got: shownJson([name, value]) });
  }
  return `[${name} "${value.replaceAll(/["\\]/g, String.raw`\$&`)}"]`;
}

function formatTags(game: PgnGame, notation: Notation): string[] {
  const own = ownTags(game, notation);
  const given = Object.entries(game.tags);
  const isSame = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
  const written = given.map(([name, value]) =>
    formatTag(name, own.find((tag) => isSame(tag.name, name))?.value ?? value),
  );
  const missing = own
    .filter((tag) => tag.isNeeded && !given.some(([name]) => isSame(name, tag.name)))
    .map((tag) => ({ ...tag, text: formatTag(tag.name, tag.value) }));
  // The standard wants `Game` first.
  const isFirst = (name: string): boolean => name === "Game";
  return [
    ...missing.filter(({ name }) => isFirst(name)).map(({ text }) => text),
    ...written,
    ...missing.filter(({ name }) => !isFirst(name)).map(({ text }) => text),
  ];
}

/** In braces, or behind semicolons when it has a brace that would close them. */
function formatComment(comment: string): string {
  const lines = plainComment(comment).split("\n");
  if (comment.includes("}")) return lines.map((line) => `; ${line}`.trimEnd()).join("\n");
  // At the beginning of a line, a tag would end the comment (pgn-tokens.ts).
  return `{${lines.map((line) => line.replace(/^\[/, " [")).join("\n")}}`;
}

/** Lines of moves, a round a line; comments stand between them. */
function formatMoves(game: PgnGame, notation: Notation): string[] {
  const variant = variants[game.variant];
  const { position, moveNumber } = parseFen(game.start, { variant });
  const lines: string[] = [];
  let [number, round] = [moveNumber, ""];
  const endRound = (): void => {
    if (round !== "") lines.push(round);
    round = "";
  };
  const comment = (ply: number): void => {
    const text = game.comments[ply] ?? "";
    if (plainComment(text) === "") return;
    endRound();
    lines.push(formatComment(text));
  };
  comment(0);
  game.moves.forEach((move, index) => {
    if (!position.isLegal(move)) {
      const where = `formatPgn, ply ${index + 1}`;
      throw new DataError({ where, expected: "a legal move", got: String(move) });
    }
    const isRed = position.side === RED;
    if (round === "") round = `${number}.${isRed ? "" : ".."}`;
    round += ` ${formatMove(position, move, notation)}`;
    position.make(move);
    if (!isRed) {
      number++;
      endRound();
    }
    comment(index + 1);
  });
  endRound();
  return lines;
}

/**
 * A game as PGN. Read back, it is the same game: start, moves, comments (without white space around their lines), result and
 * tags, but that `Game`, `Result` and `Format`, and where they are needed `Variant` and `FEN`, are written from the rest.
 * @throws DataError for a game that no file can hold: an illegal move, a tag of two lines, a comment behind the last move.
 */
export function formatPgn(game: PgnGame, notation: Notation = "chinese"): string {
  const late = Object.keys(game.comments).find((ply) => !(Number(ply) <= game.moves.length));
  if (late !== undefined) {
    const expected = `comments by ply, up to ${game.moves.length}`;
    throw new DataError({ where: "formatPgn", expected, got: late });
  }
  const [tags, moves] = [formatTags(game, notation), formatMoves(game, notation)];
  return `${[...tags, "", ...moves, resultTexts[game.result]].join("\n")}\n`;
}
