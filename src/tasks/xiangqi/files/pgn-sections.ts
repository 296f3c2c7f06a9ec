// Where the games of a PGN text begin and end, whether they can be read or not.
//
// A game begins with a tag or with a move number, and ends with a result or where the next tag begins. A comment after the result
// still belongs to it. Any other text between games belongs to none.

import type { PgnToken } from "./pgn-tokens.ts";

export type PgnSection =
  | { readonly type: "game"; readonly tokens: readonly PgnToken[] }
  | { readonly type: "stray"; readonly line: number; readonly text: string };

/** Whether a word ends a game: a result, or what looks like one. */
export const isResult = (word: string): boolean =>
  word === "*" || /^[\d/½]+[-:][\d/½]+$/.test(word);

/** `1.`, `1...`, `…`, and the number before a move, as in `1.h2e2`. */
export const moveNumber = /^(?:[0-9０-９]+[.．、。…]+|[.．…]+|[0-9]+$)/;

const startsGame = (token: PgnToken): boolean =>
  token.type === "tag" ||
  (token.type === "broken" && token.isTag) ||
  (token.type === "word" && /^[0-9０-９]/.test(token.text) && moveNumber.test(token.text));

const textOf = (token: PgnToken): string => (token.type === "word" ? token.text : "{…}");

/** What a game consists of so far, and where it stands: among its tags, among its moves, or behind its result. */
interface OpenGame {
  readonly tokens: PgnToken[];
  readonly tags: Set<string>;
  part: "tags" | "moves" | "end";
}

/** A tag that the game has already begins another one, if it is `Game` or stands behind an empty line. */
function isOtherGame({ part, tags }: OpenGame, token: PgnToken): boolean {
  if (part === "end") return startsGame(token);
  const isTag = token.type === "tag" || (token.type === "broken" && token.isTag);
  if (part === "moves" || token.type !== "tag") return part === "moves" && isTag;
  const name = token.name.toLowerCase();
  return tags.has(name) && (name === "game" || token.isApart);
}

function addToken(game: OpenGame, token: PgnToken): void {
  game.tokens.push(token);
  if (token.type === "tag") game.tags.add(token.name.toLowerCase());
  if (token.type === "word") game.part = isResult(token.text) ? "end" : "moves";
  if (token.type === "broken" && !token.isTag) game.part = "moves";
}

/** The games and the text between them, in order. */
export function* pgnSections(tokens: Iterable<PgnToken>): Generator<PgnSection> {
  let game: OpenGame | null = null;
  /** Comments before the first game, or text that belongs to no game. */
  let loose: PgnToken[] = [];
  const stray = (): PgnSection => {
    const text = loose.map(textOf).join(" ");
    return { type: "stray", line: loose[0]!.line, text };
  };
  for (const token of tokens) {
    if (game !== null && !isOtherGame(game, token)) {
      // Once text of nobody has begun, comments are part of it.
      const isOwn: boolean =
        game.part !== "end" || (token.type === "comment" && loose.length === 0);
      if (isOwn) addToken(game, token);
      else loose.push(token);
      continue;
    }
    if (game === null && !startsGame(token)) {
      loose.push(token);
      continue;
    }
    if (game !== null) yield { type: "game", tokens: game.tokens };
    const isLead = loose.every((one) => one.type === "comment");
    if (!isLead) yield stray();
    game = { tokens: isLead ? [...loose] : [], tags: new Set(), part: "tags" };
    addToken(game, token);
    loose = [];
  }
  if (game !== null) yield { type: "game", tokens: game.tokens };
  if (loose.length > 0) yield stray();
}
