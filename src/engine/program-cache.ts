// Compiled programs with their memory, by what they are for; those unused for longest go first.

import type { Binding } from "../tensor/index.ts";

/** Programs that each cache holds at most. */
export const MOST_PROGRAMS = { engine: 64, sampler: 96 } as const;

export class ProgramCache {
  readonly #bindings = new Map<string, Binding>();
  readonly #most: number;

  /** At most `most` programs at a time: each takes some megabytes. */
  constructor(most: number) {
    this.#most = most;
  }

  /** The program of this key, made when there is none. */
  get(key: string, make: () => Binding): Binding {
    const binding = this.#bindings.get(key) ?? make();
    this.#bindings.delete(key);
    this.#bindings.set(key, binding); // the most recent one is the last
    if (this.#bindings.size > this.#most) this.#drop(this.keys[0]!);
    return binding;
  }

  /** The program of this key, if there is one. */
  peek(key: string): Binding | undefined {
    return this.#bindings.get(key);
  }

  get keys(): readonly string[] {
    return [...this.#bindings.keys()];
  }

  /** Disposes of the programs whose key contains `part`; default: of all. */
  clear(part = ""): void {
    for (const key of this.keys) if (key.includes(part)) this.#drop(key);
  }

  #drop(key: string): void {
    this.#bindings.get(key)!.program.dispose();
    this.#bindings.delete(key);
  }
}
