// How often each score failed, and how.

import type { StoredFailure } from "./sample-record.ts";

/** Samples by score name, then by kind of failure. */
export type FailureTable = Readonly<Record<string, Readonly<Record<string, number>>>>;

export class FailureCounts {
  readonly #counts = new Map<string, Map<string, number>>();

  /** Counts the failures of one sample. */
  add(failures: Readonly<Record<string, StoredFailure>>): void {
    for (const [score, { kind }] of Object.entries(failures)) {
      const kinds = this.#counts.get(score) ?? new Map<string, number>();
      this.#counts.set(score, kinds.set(kind, (kinds.get(kind) ?? 0) + 1));
    }
  }

  get table(): FailureTable {
    return Object.fromEntries(
      [...this.#counts].map(([score, kinds]) => [score, Object.fromEntries(kinds)]),
    );
  }
}
