// Errors people can act on. Message form: `<where>: expected <what>, got <what> (<hint>)`.

interface ErrorParts {
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

abstract class AlidadeError extends Error {
  constructor(parts: ErrorParts | string, cause?: unknown) {
    // An undefined cause would be printed as one.
    const options = (of: unknown): ErrorOptions => (of === undefined ? {} : { cause: of });
    if (typeof parts === "string") super(parts, options(cause));
    else {
      const hint = parts.hint === undefined ? "" : ` (${parts.hint})`;
      super(
        `${parts.where}: expected ${parts.expected}, got ${parts.got}${hint}`,
        options(parts.cause),
      );
    }
    this.name = new.target.name;
  }
}

/** The caller asked for something that does not exist or is out of range. */
export class ConfigError extends AlidadeError {}
/** A file or record does not have the form it should have. */
export class DataError extends AlidadeError {}
/** Tensors that do not fit together. */
export class ShapeError extends AlidadeError {}
/** The numerical engine failed or was used wrongly. */
export class EngineError extends AlidadeError {}
/** A run cannot go on: its directory, its checkpoint or its numbers are not usable. */
export class RunError extends AlidadeError {}

const LONGEST_JSON = 80;

/** A value as JSON for a message; its beginning when it is long. Infinities and NaN, which JSON calls null, by their names. */
export function shownJson(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? "nothing");
  return text.length <= LONGEST_JSON ? text : `${text.slice(0, LONGEST_JSON)}…`;
}

/** Levenshtein distance of two words, or of two lists of letters. */
export function editDistance(a: ArrayLike<string>, b: ArrayLike<string>): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The known word nearest to `word`, or undefined when none is near (more than half of its letters differ). */
export function nearestName(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const name of known) {
    const distance =
      name.startsWith(word) && word.length > 2
        ? 1
        : editDistance(word.toLowerCase(), name.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [name, distance];
  }
  return best !== undefined && bestDistance <= Math.max(2, best.length / 2) ? best : undefined;
}

/** Error for a name outside a known set; offers the nearest known one. */
export function unknownName(
  where: string,
  kind: string,
  got: string,
  known: Iterable<string>,
): ConfigError {
  const names = [...known];
  const near = nearestName(got, names);
  return new ConfigError({
    where,
    expected: `a known ${kind}`,
    got: JSON.stringify(got),
    hint:
      near === undefined ? `known: ${names.join(", ")}` : `did you mean ${JSON.stringify(near)}?`,
  });
}
