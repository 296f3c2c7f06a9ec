// What an engine says can be set, and whether a value is among what it takes.

import { ConfigError, unknownName } from "../../../core/errors.ts";

const types = ["check", "spin", "combo", "button", "string"] as const;
type OptionType = (typeof types)[number];

export interface EngineOption {
  readonly name: string;
  readonly type: OptionType;
  readonly default?: string;
  readonly min?: number;
  readonly max?: number;
  /** What a combo takes. */
  readonly values: readonly string[];
}

const fields = new Set(["default", "min", "max", "var"]);

/**
 * The option of `Skill Level type spin default 20 min -20 max 20`, the fields in any order; null: the text describes none.
 */
export function parseOption(text: string): EngineOption | null {
  const words = text.split(/\s+/).filter((word) => word !== "");
  const typeAt = words.indexOf("type");
  const type = types.find((known) => known === words[typeAt + 1]);
  if (typeAt < 1 || type === undefined) return null;
  const found: Record<string, string[]> = {};
  let field = "";
  for (const word of words.slice(typeAt + 2)) {
    // A string may have such a word in its default.
    const isField = fields.has(word) && !(type === "string" && field === "default");
    if (isField) (found[(field = word)] ??= []).push("");
    else if (field !== "") found[field]!.push(`${found[field]!.pop()!} ${word}`.trim());
  }
  const number = (name: string): number | undefined => {
    const value = found[name]?.at(-1);
    return value !== undefined && /^[+-]?\d{1,15}$/.test(value) ? Number(value) : undefined;
  };
  const [standard, min, max] = [found["default"]?.at(-1), number("min"), number("max")];
  return {
    name: words.slice(0, typeAt).join(" "),
    type,
    ...(standard === undefined ? {} : { default: standard }),
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
    values: found["var"] ?? [],
  };
}

/** The option of a name, large and small letters alike as in UCI. */
export function findOption(
  options: readonly EngineOption[],
  name: string,
): EngineOption | undefined {
  const small = name.toLowerCase();
  return (
    options.find((option) => option.name === name) ??
    options.find((option) => option.name.toLowerCase() === small)
  );
}

/** What values an option takes, or null when it takes this one. */
function valueFault({ type, min, max, values }: EngineOption, value: string): string | null {
  switch (type) {
    case "check":
      return value === "true" || value === "false" ? null : "true or false";
    case "spin": {
      const number = Number(value);
      const isInside = number >= (min ?? -Infinity) && number <= (max ?? Infinity);
      if (/^[+-]?\d{1,15}$/.test(value) && isInside) return null;
      return `a whole number from ${min ?? "any"} to ${max ?? "any"}`;
    }
    case "combo":
      return values.includes(value) ? null : `one of ${values.join(", ")}`;
    case "button":
      return value === "" ? null : 'a button to be pressed with ""';
    case "string":
      return /[\r\n]/.test(value) ? "one line" : null;
  }
}

/**
 * The option that is meant, when it takes the value.
 * @throws ConfigError that offers the nearest name, or says what the option takes.
 */
export function checkOption(
  where: string,
  options: readonly EngineOption[],
  name: string,
  value: string,
): EngineOption {
  const option = findOption(options, name);
  if (option === undefined) {
    const names = options.map((known) => known.name);
    throw unknownName(where, "option of the engine", name, names);
  }
  const fault = valueFault(option, value);
  if (fault === null) return option;
  const expected = `${option.name} to be ${fault}`;
  throw new ConfigError({ where, expected, got: JSON.stringify(value) });
}
