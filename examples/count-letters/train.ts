// npx tsx examples/count-letters/train.ts [run directory]

import { trainTask } from "alidade";
import { countLetters } from "./task.ts";

await trainTask(countLetters, {
  out: process.argv[2] ?? "runs/count-letters",
  reward: { right: 1, number: 0.1 },
  settings: {
    model: { layers: 2, width: 64, heads: 4, kvHeads: 4, hiddenWidth: 160, contextLength: 64 },
    sft: { steps: 20, batch: 64 },
    grpo: { steps: 150, prompts: 32, group: 8, maxTokens: 4, optimiser: { learningRate: 1e-3 } },
    evaluate: { count: 300, every: 25, maxTokens: 4 },
  },
});
