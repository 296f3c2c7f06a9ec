// Values that were made elsewhere for samples, by prompt and sample id.

import { z } from "zod";
import { DataError, shownJson } from "../../core/errors.ts";

/** What tells a sample from the others, as files name it. Number 7 and text "7" are one id. */
export const sampleFields = {
  prompt: z.string().min(1),
  sample_id: z.union([z.string().min(1), z.int()], { error: "text or a whole number" }),
};

export interface SampleName {
  readonly prompt: string;
  readonly sampleId: string | number;
}

const keyOf = (prompt: string, id: string | number): string => JSON.stringify([prompt, String(id)]);

/** Values of samples. Throws a DataError that begins with `where` for a second one of a sample. */
export class SampleTable<Value> {
  readonly #values = new Map<string, Value>();
  readonly #path: string;
  readonly #what: string;

  /** @param what For errors: `reward`. */
  constructor(path: string, what: string) {
    this.#path = path;
    this.#what = what;
  }

  get size(): number {
    return this.#values.size;
  }

  add({ prompt, sampleId }: SampleName, value: Value, where: string): void {
    const key = keyOf(prompt, sampleId);
    if (this.#values.has(key)) {
      const got = `a second one of sample ${sampleId}`;
      const expected = `one ${this.#what} a sample`;
      throw new DataError({ where: `${where}, field sample_id`, expected, got });
    }
    this.#values.set(key, value);
  }

  /** Throws a DataError when there is none: what is missing is not a 0. */
  get(prompt: string, sampleId: string | number): Value {
    const value = this.#values.get(keyOf(prompt, sampleId));
    if (value !== undefined) return value;
    const expected = `a ${this.#what} of sample ${sampleId} of ${shownJson(prompt)}`;
    throw new DataError({ where: this.#path, expected, got: "none" });
  }
}
