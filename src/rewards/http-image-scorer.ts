// A scorer of images on another machine, over HTTP and JSON.
//
//   POST {"prompts": ["a photo of …"], "metadatas": [{…}], "images": ["<PNG, base64>"]}      lists of one length
//   200  {"scores": {"aesthetic": [5.1], "clip": [null]}}                                    a list a name, in that order
//
// null: the server abstains. Any other status, a field "error" (whatever stands beside it), a missing name, a list of another length
// or a value that is no number is a failure of the images of the request, and never a 0: what becomes of them is a setting of the run.

import { z } from "zod";
import { ConfigError, DataError, EngineError, shownJson, unknownName } from "../core/errors.ts";
import type { Scorer, Scores } from "../core/task.ts";
import { encodePng } from "../image/png.ts";
import type { Raster } from "../image/raster.ts";

export interface HttpScorerOptions<Item> {
  readonly url: string;
  /** Names that the server gives, with what they mean. */
  readonly scores: Readonly<Record<string, string>>;
  /** Most images of one request. Those that are scored at the same time (`scoring.concurrency`) share requests. */
  readonly batch: number;
  /** What the server is told about an image beside it. */
  readonly describe: (item: Item) => { readonly prompt: string; readonly metadata: unknown };
  /**
   * Numbers that are no scores: by these the server says that it abstains. The lists by tag of Flow-GRPO's reward-server have -10
   * for images of other tags.
   */
  readonly abstains?: Readonly<Record<string, number>>;
  /** For example an authorisation. */
  readonly headers?: Readonly<Record<string, string>>;
}

interface Waiting<Item> {
  readonly item: Item;
  readonly image: Raster;
  readonly signal: AbortSignal;
  readonly resolve: (scores: Scores) => void;
  readonly reject: (error: unknown) => void;
}

const replySchema = z.object({
  scores: z.record(z.string(), z.array(z.number().nullable())),
  error: z.never().nullish(),
});

/** The lists of a reply, each checked. Throws a DataError. */
function readReply(
  text: string,
  names: readonly string[],
  count: number,
  where: string,
): Readonly<Record<string, readonly (number | null)[]>> {
  let reply: unknown;
  try {
    reply = JSON.parse(text);
  } catch (cause) {
    throw new DataError({ where, expected: "JSON", got: shownJson(text), cause });
  }
  const parsed = replySchema.safeParse(reply);
  if (!parsed.success) {
    const expected = '{"scores": {name: [numbers or null]}}';
    throw new DataError({ where, expected, got: shownJson(reply) });
  }
  const { scores } = parsed.data;
  for (const name of names) {
    const list = Object.hasOwn(scores, name) ? scores[name]! : null;
    if (list?.length === count) continue;
    const got = list === null ? `only ${Object.keys(scores).join(", ")}` : String(list.length);
    throw new DataError({ where, expected: `${count} scores ${name}`, got });
  }
  return scores;
}

async function post<Item>(
  batch: readonly Waiting<Item>[],
  { url, scores, abstains = {}, describe, headers = {} }: HttpScorerOptions<Item>,
  signal: AbortSignal,
): Promise<Scores[]> {
  const described = batch.map(({ item }) => describe(item));
  const body = JSON.stringify({
    prompts: described.map(({ prompt }) => prompt),
    metadatas: described.map(({ metadata }) => metadata),
    images: batch.map(({ image }) => Buffer.from(encodePng(image)).toString("base64")),
  });
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
    signal,
  });
  const text = await response.text();
  const where = `scorer ${url}`;
  if (!response.ok) {
    const got = `status ${response.status}: ${shownJson(text)}`;
    throw new EngineError({ where, expected: "status 200", got });
  }
  const names = Object.keys(scores);
  const lists = readReply(text, names, batch.length, where);
  const valueOf = (name: string, index: number): number | null => {
    const value = lists[name]![index]!;
    return value === abstains[name] ? null : value;
  };
  return batch.map((_, index) =>
    Object.fromEntries(names.map((name) => [name, valueOf(name, index)])),
  );
}

/** Sends one request; it is given up once nobody waits for it any more. */
async function send<Item>(
  batch: readonly Waiting<Item>[],
  options: HttpScorerOptions<Item>,
): Promise<void> {
  const abort = new AbortController();
  const onAbort = (): void => {
    if (batch.every(({ signal }) => signal.aborted)) abort.abort();
  };
  for (const { signal } of batch) signal.addEventListener("abort", onAbort);
  onAbort(); // nobody may be left by now
  try {
    const scores = await post(batch, options, abort.signal);
    for (const [index, { resolve }] of batch.entries()) resolve(scores[index]!);
  } catch (error) {
    for (const { reject } of batch) reject(error);
  } finally {
    for (const { signal } of batch) signal.removeEventListener("abort", onAbort);
  }
}

function checkOptions<Item>({ batch, scores, abstains = {} }: HttpScorerOptions<Item>): void {
  const where = "httpImageScorer";
  if (!Number.isInteger(batch) || batch < 1) {
    throw new ConfigError({ where, expected: "batch >= 1", got: String(batch) });
  }
  const stranger = Object.keys(abstains).find((name) => !Object.hasOwn(scores, name));
  if (stranger !== undefined) throw unknownName(where, "score", stranger, Object.keys(scores));
}

/**
 * Images that are asked about in one turn of the event loop go out together, at most `batch` a request. Throws a ConfigError for
 * options that cannot be.
 */
export function httpImageScorer<Item, Config>(
  options: HttpScorerOptions<Item>,
): Scorer<Item, Config, Raster> {
  checkOptions(options);
  let waiting: Waiting<Item>[] = [];
  const flush = (): void => {
    const all = waiting;
    waiting = [];
    for (let from = 0; from < all.length; from += options.batch) {
      void send(all.slice(from, from + options.batch), options);
    }
  };
  return {
    scores: options.scores,
    score: (item, image, _config, signal) =>
      new Promise<Scores>((resolve, reject) => {
        if (waiting.length === 0) setImmediate(flush);
        waiting.push({ item, image, signal, resolve, reject });
      }),
  };
}
