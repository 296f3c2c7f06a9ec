// What an engine says can be set, and whether a value is among what it takes.

import { ConfigError, unknownName } from "../../../core/errors.ts";

const types = ["check", "spin", "combo", "button", "string"] as const;
type OptionType = (typeof types)[number];

const wholeNumber = /^[+-]?\d{1,15}$/;

export interface EngineOption {
  readonly name: string;
  readonly type: OptionType;
  readonly default: string | undefined;
  readonly min: number | undefined;
  readonly max: number | undefined;
  /** What a combo takes. */
  readonly values: readonly string[];
}

const fieldNames = new Set(["default", "min", "max", "var"]);

/** The words after every `default`, `min`, `max` and `var`, in their order. */
function readFields(words: readonly string[], type: OptionType): [field: string, text: string][] {
  const fields: { readonly name: string; readonly words: string[] }[] = [];
  for (const word of words) {
    // The default of a string may have such a word in it.
    const isText = type === "string" && fields.at(-1)?.name === "default";
    if (fieldNames.has(word) && !isText) fields.push({ name: word, words: [] });
    else fields.at(-1)?.words.push(word);
  }
  return fields.map((field) => [field.name, field.words.join(" ")]);
}

/**
 * The option of `Skill Level type spin default 20 min -20 max 20`, the fields in any order; null: the text describes none.
 */
export function parseOption(text: string): EngineOption | null {
  const words = text.split(/\s+/).filter((word) => word !== "");
  const typeAt = words.indexOf("type");
  const type = types.find((known) => known === words[typeAt + 1]);
  if (typeAt < 1 || type === undefined) return null;
  const fields = readFields(words.slice(typeAt + 2), type);
  const limit = (name: string): number | undefined => {
    const value = new Map(fields).get(name);
    return value !== undefined && wholeNumber.test(value) ? Number(value) : undefined;
  };
  return {
    name: words.slice(0, typeAt).join(" "),
    type,
    default: new Map(fields).get("default"),
    min: limit("min"),
    max: limit("max"),
    values: fields.flatMap(([name, value]) => (name === "var" ? [value] : [])),
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
      if (wholeNumber.test(value) && isInside) return null;
      return `a whole number from ${min ?? "any"} to ${max ?? "any"}`;
    }
    case "combo":
      return values.includes(value) ? null : `one of ${values.join(", ")}`;
    case "button":
      return value === "" ? null : 'a button to be pressed with ""';
    default:
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
