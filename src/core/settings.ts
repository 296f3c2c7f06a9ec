// The config of a run: defaults of the schema, then what the scale changes, then what the user changes
// (`grpo.clip.high=0.28`). Nothing is dropped silently: an unknown setting is an error.

import type { z } from "zod";
import { ConfigError, unknownName } from "./errors.ts";
import { defaultOf, expectedText, isForm, isPlainObject } from "./settings-schema.ts";
import { listSettings, objectForms, readSchema, recordValue, tagOf } from "./settings-schema.ts";
import type { PlainObject, SchemaNode, Setting } from "./settings-schema.ts";

export { describeSettings } from "./settings-schema.ts";
export type { Setting } from "./settings-schema.ts";

/** Type, range and default that the schema gives, and where a value is being set. */
interface Place {
  readonly node: SchemaNode;
  readonly path: readonly string[];
}

/** The part of a nested settings value below `key`, or undefined when there is no such setting. */
function childNode(node: SchemaNode, key: string, current: PlainObject): SchemaNode | undefined {
  const tag = tagOf(node);
  const forms = objectForms(node).filter((form) => Object.hasOwn(form.properties!, key));
  if (tag !== undefined && key === tag) {
    return { type: "string", enum: forms.map((form) => form.properties![tag]!.const) };
  }
  const chosen =
    tag === undefined || current[tag] === undefined
      ? forms[0]
      : forms.find((form) => isForm(form, tag, current));
  return chosen?.properties![key] ?? recordValue(node);
}

/** A nested object before anything but `given` is set. */
const emptyForm = (node: SchemaNode, given: PlainObject): PlainObject =>
  defaultOf({ ...node, default: given }) as PlainObject;

class Resolver {
  readonly #root: SchemaNode;
  readonly #settings: readonly Setting[];

  constructor(schema: z.ZodType) {
    this.#root = readSchema(schema);
    this.#settings = listSettings(this.#root);
  }

  defaults(): unknown {
    return defaultOf(this.#root) ?? {};
  }

  /** `current` with everything in `value` set; records and lists are replaced, objects merged. */
  merge(current: unknown, value: unknown): unknown {
    return this.#merged({ node: this.#root, path: [] }, current, value);
  }

  /** `current` after one `path=value`. */
  override(current: unknown, text: string): unknown {
    const split = text.indexOf("=");
    if (split < 1) {
      throw new ConfigError({
        where: "settings",
        expected: "path=value",
        got: JSON.stringify(text),
        hint: "for example seed=7",
      });
    }
    const path = text.slice(0, split).trim().split(".");
    return this.#set({ node: this.#root, path: [] }, current, path, text.slice(split + 1));
  }

  #merged(place: Place, current: unknown, value: unknown): unknown {
    const isObject = isPlainObject(value) && objectForms(place.node).length > 0;
    if (!isObject) return value;
    const tag = tagOf(place.node);
    let result: unknown = current;
    const entries = Object.entries(value).sort(([a], [b]) => Number(b === tag) - Number(a === tag));
    for (const [key, part] of entries) {
      result = this.#withChild(place, result, key, (at, old) => this.#merged(at, old, part));
    }
    return isPlainObject(result) ? result : {};
  }

  #set(place: Place, current: unknown, rest: readonly string[], text: string): unknown {
    const [key, ...below] = rest;
    if (key === undefined) return this.#merged(place, current, readValue(place.node, text));
    const change = (at: Place, old: unknown): unknown => this.#set(at, old, below, text);
    return this.#withChild(place, current, key, change, below);
  }

  #withChild(
    { node, path }: Place,
    current: unknown,
    key: string,
    change: (at: Place, old: unknown) => unknown,
    below: readonly string[] = [],
  ): PlainObject {
    const object = isPlainObject(current) ? current : emptyForm(node, {});
    const child = childNode(node, key, object);
    if (child === undefined) throw this.#unknown([...path, key, ...below].join("."));
    const old = Object.hasOwn(object, key) ? object[key] : undefined;
    const value = change({ node: child, path: [...path, key] }, old);
    // Another tag is another object: the settings of the old one do not carry over.
    if (key === tagOf(node) && value !== old) return emptyForm(node, { [key]: value });
    return { ...object, [key]: value };
  }

  #unknown(path: string): ConfigError {
    const known = this.#settings.map((setting) => setting.path);
    const elsewhere = this.#settings.find((setting) => setting.path === path);
    if (elsewhere?.when !== undefined) {
      const got = JSON.stringify(path);
      return new ConfigError({
        where: "settings",
        expected: `${elsewhere.when} for this setting`,
        got,
      });
    }
    const inner = known.find((name) => name.endsWith(`.${path}`));
    if (inner === undefined) return unknownName("settings", "setting", path, known);
    const hint = `did you mean ${JSON.stringify(inner)}?`;
    const got = JSON.stringify(path);
    return new ConfigError({ where: "settings", expected: "a known setting", got, hint });
  }

  /** The first problem zod found, in our words. */
  error(error: z.ZodError, value: unknown): ConfigError {
    const issue = error.issues[0]!;
    const path = issue.path.map(String).join(".");
    const setting = this.#settings.find((one) => one.path === path);
    let got: unknown = value;
    for (const key of issue.path) got = (got as PlainObject | undefined)?.[String(key)];
    const isOwnRule = issue.code === "custom" || setting === undefined;
    return new ConfigError({
      where: path === "" ? "settings" : `settings.${path}`,
      expected: isOwnRule ? issue.message : expectedText(setting),
      got: got === undefined ? "nothing" : JSON.stringify(got),
      hint: setting?.help === "" ? undefined : setting?.help,
      cause: error,
    });
  }
}

/** A value from the command line: JSON if it parses, else the text itself; always the text for a text setting. */
function readValue(node: SchemaNode, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  return node.type === "string" && typeof value !== "string" ? text : value;
}

/**
 * The config of a run.
 * @param layers What changes the defaults (a profile, a scale): nested and partial, the later ones on top.
 * @param overrides What the user changes: `path=value`, where the value is JSON or plain text.
 * @throws ConfigError for an unknown setting (names the nearest) or a value of the wrong type or range.
 */
export function resolveSettings<Config>(
  schema: z.ZodType<Config>,
  layers: readonly object[],
  overrides: readonly string[],
): Config {
  const resolver = new Resolver(schema);
  let value = resolver.defaults();
  for (const layer of layers) value = resolver.merge(value, layer);
  for (const text of overrides) value = resolver.override(value, text);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw resolver.error(parsed.error, value);
}
