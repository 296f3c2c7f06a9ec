// Memory that programs write their results to and that is read before the next one runs: they share it.

import { allocate } from "../tensor/index.ts";

export class Scratch {
  readonly #blocks = new Map<string, Float32Array>();

  /** Memory of this name, shared with whoever asked for it before; new memory when that is too small. */
  floats(name: string, length: number): Float32Array {
    let block = this.#blocks.get(name);
    if (block === undefined || block.length < length) {
      block = allocate("float32", [length]);
      this.#blocks.set(name, block);
    }
    return block.subarray(0, length);
  }

  clear(): void {
    this.#blocks.clear();
  }
}
