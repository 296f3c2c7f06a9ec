import * as fc from "fast-check";
import { expect, it } from "vitest";
import { cacheBytes, PromptCache, RowCache } from "./sampler-cache.ts";

const small = (max: number) => fc.integer({ min: 1, max });

it("knows the bytes of its caches before they are there", () => {
  const heads = fc.record({ kvHeads: small(3), headSize: small(8), layers: small(3) });
  fc.assert(
    fc.property(
      heads,
      small(4),
      small(30),
      small(9),
      small(70),
      (of, prompts, time, rows, most) => {
        const promptCache = new PromptCache(of, prompts, time);
        const rowCache = new RowCache(of, rows, most);
        rowCache.standAt(most - 1); // sees all of its memory
        const { mask: _mask, ...held } = rowCache.memory(rows);
        const arrays = [...Object.values(promptCache.memory(prompts)), ...Object.values(held)];
        const bytes = arrays.reduce((total, { byteLength }) => total + byteLength, 0);
        expect(
          cacheBytes(of, { capacity: prompts, time }, { capacity: rows, mostTime: most }),
        ).toBe(bytes);
      },
    ),
    { numRuns: 50 },
  );
});
