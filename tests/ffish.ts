// Fairy-Stockfish's rules as a WebAssembly package (GPL-3.0): what tests compare our rules and notations with.

import type { FairyStockfish } from "ffish";
import { vi } from "vitest";

const processEvents = ["uncaughtException", "unhandledRejection"] as const;

async function load(): Promise<FairyStockfish> {
  // The build is older than Node's fetch: where that exists it takes itself for a browser and fetches a path on the disk.
  vi.stubGlobal("fetch", undefined);
  const listeners = processEvents.map((event) => process.rawListeners(event));
  try {
    // Its types describe the factory of ffish-es6; this package exports the module itself.
    const ffish = (await import("ffish")).default as unknown as FairyStockfish & {
      onRuntimeInitialized: () => void;
    };
    await new Promise<void>((resolve) => {
      ffish.onRuntimeInitialized = resolve;
    });
    return ffish;
  } finally {
    vi.unstubAllGlobals();
    // It listens for errors of the whole process and aborts on a rejected promise, also on one that is not its own.
    processEvents.forEach((event, index) => {
      const before = listeners[index]!;
      for (const listener of process.rawListeners(event)) {
        if (before.includes(listener)) continue;
        process.removeListener(event, listener as () => void);
      }
    });
  }
}

let loaded: Promise<FairyStockfish> | undefined;

/** The package, once its program has started. Boards are to be freed with `delete()`. */
export const loadFfish = (): Promise<FairyStockfish> => (loaded ??= load());
