// A command line of the user as words: quotes and backslashes as in a shell, and nothing else of one.

import { ConfigError } from "../../core/errors.ts";

/** For example `engine "my nets/a.nnue"` is two words. @throws ConfigError for nothing, or an open quote. */
export function splitCommandLine(text: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote: string | null = null;
  const characters = Array.from(text);
  for (let index = 0; index < characters.length; index++) {
    const character = characters[index]!;
    if (character === "\\" && quote !== "'" && index + 1 < characters.length) {
      word = (word ?? "") + characters[++index]!;
    } else if (quote !== null) {
      if (character === quote) quote = null;
      else word = (word ?? "") + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      word ??= "";
    } else if (!/\s/.test(character)) word = (word ?? "") + character;
    else if (word !== null) {
      words.push(word);
      word = null;
    }
  }
  if (word !== null) words.push(word);
  const refuse = (expected: string, got: string): ConfigError =>
    new ConfigError({ where: "command line of an engine", expected, got });
  if (quote !== null) throw refuse(`a closing ${quote}`, text);
  if (words.length === 0) throw refuse("a program", "nothing");
  return words;
}
