// What a zod schema of settings says about each setting: type, default, range, help. One reading of the
// schema (as JSON Schema, zod's own stable description of itself) serves help, overrides and errors.

import { z } from "zod";

/** The part of JSON Schema 2020-12 that zod writes for settings. */
export interface SchemaNode {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | SchemaNode;
  readonly items?: boolean | SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/** One line of the settings table. */
export interface Setting {
  /** For example `grpo.clip.high`. */
  readonly path: string;
  /** For example `number`, `choice`, `number or null`, `list of integer`. */
  readonly type: string;
  /** Undefined when it has none: then it is required, or absent until given. */
  readonly default: unknown;
  /** Bounds or choices, for example `>= 0, < 1` or `full | diff`; empty when every value of the type is fine. */
  readonly range: string;
  readonly help: string;
  /** For a setting of one variant of a tagged object: the tag it belongs to, for example `loss.type = dpo`. */
  readonly when?: string;
}

export type PlainObject = Readonly<Record<string, unknown>>;

export function isPlainObject(value: unknown): value is PlainObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The tree that describes the input of a settings schema. */
export function readSchema(schema: z.ZodType): SchemaNode {
  return z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as SchemaNode;
}

const alternatives = (node: SchemaNode): readonly SchemaNode[] =>
  (node.anyOf ?? node.oneOf)?.flatMap(alternatives) ?? [node];

/** Objects with named settings among the forms a value may take; none for a plain setting. */
export const objectForms = (node: SchemaNode): readonly SchemaNode[] =>
  alternatives(node).filter((form) => form.properties !== undefined);

/** Schema of the values of a free-form record, or undefined. */
export function recordValue(node: SchemaNode): SchemaNode | undefined {
  for (const form of alternatives(node)) {
    const value = form.additionalProperties;
    if (form.properties === undefined && typeof value === "object") return value;
  }
  return undefined;
}

/** Name of the property that tells the forms of a tagged object apart, or undefined. */
export function tagOf(node: SchemaNode): string | undefined {
  const forms = objectForms(node);
  if (forms.length < 2) return undefined;
  return Object.keys(forms[0]!.properties!).find((key) =>
    forms.every((form) => form.properties![key]?.const !== undefined),
  );
}

const choicesOf = (node: SchemaNode): readonly unknown[] =>
  node.enum ?? (node.const === undefined ? [] : [node.const]);

function plainType(node: SchemaNode): string {
  const words = (typeof node.type === "string" ? [node.type] : (node.type ?? [])).map((type) => {
    if (type === "array")
      return typeof node.items === "object" ? `list of ${typeName(node.items)}` : "list";
    if (type === "object" && typeof node.additionalProperties === "object")
      return `record of ${typeName(node.additionalProperties)}`;
    return choicesOf(node).length > 0 && type !== "null" ? "choice" : type;
  });
  return words.length === 0 ? "any value" : words.join(" or ");
}

/** Type in words, for example `integer or null`. */
export function typeName(node: SchemaNode): string {
  const names = new Set(alternatives(node).map(plainType));
  // "null" reads best at the end.
  return [...names].sort((a, b) => Number(a === "null") - Number(b === "null")).join(" or ");
}

const plainText = (value: unknown): string =>
  typeof value === "string" ? value : JSON.stringify(value);

// zod bounds every integer by the safe range; that says nothing new.
const bound = (sign: string, value: number | undefined): string[] =>
  value === undefined || Math.abs(value) === Number.MAX_SAFE_INTEGER ? [] : [`${sign} ${value}`];

function plainRange(node: SchemaNode): string {
  const choices = choicesOf(node).filter((choice) => choice !== null);
  if (choices.length > 0) return choices.map(plainText).join(" | ");
  return [
    ...bound(">", node.exclusiveMinimum),
    ...bound(">=", node.minimum),
    ...bound("<", node.exclusiveMaximum),
    ...bound("<=", node.maximum),
  ].join(", ");
}

const rangeText = (node: SchemaNode): string =>
  alternatives(node)
    .map(plainRange)
    .filter((text) => text !== "")
    .join("; ");

/** Expected value in words, for error messages: `number >= 0, < 1`, `one of full | diff`. */
export function expectedText(setting: Setting): string {
  if (setting.type === "choice") return `one of ${setting.range}`;
  return setting.range === "" ? setting.type : `${setting.type} ${setting.range}`;
}

/** The value a settings tree has before anything is set; undefined: absent. */
export function defaultOf(node: SchemaNode): unknown {
  const forms = objectForms(node);
  if (forms.length === 0 || node.default === null) return node.default;
  const given = isPlainObject(node.default) ? node.default : {};
  const tag = tagOf(node);
  const form = tag === undefined ? forms[0]! : forms.find((one) => isForm(one, tag, given));
  if (form === undefined) return node.default;
  const children = Object.entries(form.properties!)
    .filter(([key, child]) => child.default !== undefined || form.required?.includes(key) === true)
    .map(([key, child]) => [key, defaultOf(child)] as const)
    .filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(children), ...given };
}

/** Whether a tagged value has this form. */
export const isForm = (form: SchemaNode, tag: string, value: PlainObject): boolean =>
  form.properties?.[tag]?.const === value[tag];

interface Position {
  readonly path: string;
  readonly defaults: unknown;
  readonly when?: string;
}

function leaf(node: SchemaNode, position: Position): Setting {
  const { path, defaults, when } = position;
  return {
    path,
    type: objectForms(node).length > 0 ? "object or null" : typeName(node),
    default: defaults,
    range: rangeText(node),
    help: node.description ?? "",
    ...(when === undefined ? {} : { when }),
  };
}

function tagSetting(node: SchemaNode, tag: string, position: Position): Setting {
  const choices = objectForms(node).map((form) => form.properties![tag]!.const);
  const text = node.description === undefined ? {} : { description: node.description };
  return leaf({ type: "string", enum: choices, ...text }, position);
}

function listNode(node: SchemaNode, position: Position): Setting[] {
  const forms = objectForms(node);
  if (forms.length === 0) return [leaf(node, position)];
  const tag = tagOf(node);
  const { path, defaults } = position;
  const child = (key: string): Position => ({
    ...position,
    path: path === "" ? key : `${path}.${key}`,
    defaults: isPlainObject(defaults) && Object.hasOwn(defaults, key) ? defaults[key] : undefined,
  });
  const isNullable = alternatives(node).some((form) => form.type === "null");
  const own = isNullable ? [leaf(node, position)] : [];
  if (tag !== undefined) own.push(tagSetting(node, tag, child(tag)));
  const inside = forms.flatMap((form) =>
    Object.entries(form.properties!)
      .filter(([key]) => key !== tag)
      .flatMap(([key, property]) => {
        const at = child(key);
        const value = at.defaults ?? defaultOf(property);
        if (tag === undefined) return listNode(property, { ...at, defaults: value });
        const when = `${child(tag).path} = ${plainText(form.properties![tag]!.const)}`;
        return listNode(property, { ...at, defaults: value, when });
      }),
  );
  return [...own, ...inside];
}

/** Every setting of a schema in the order of its definition. */
export function describeSettings(schema: z.ZodType): Setting[] {
  return listSettings(readSchema(schema));
}

export function listSettings(root: SchemaNode): Setting[] {
  return listNode(root, { path: "", defaults: defaultOf(root) });
}
