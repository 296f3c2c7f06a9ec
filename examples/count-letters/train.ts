// npx tsx examples/count-letters/train.ts

import { trainTask } from "alidade";
import { countLetters } from "./task.ts";

await trainTask(countLetters, {
  out: "runs/count-letters",
  reward: { right: 1 },
  settings: {
    model: { layers: 2, width: 64, heads: 4, kvHeads: 4, hiddenWidth: 160, contextLength: 64 },
    sft: { steps: 40, optimiser: { learningRate: 2e-3 } },
    grpo: {
      steps: 300,
      prompts: 32,
      group: 8,
      maxTokens: 4,
      optimiser: { learningRate: 1e-3, schedule: "cosine" },
    },
    evaluate: { count: 300, every: 50, maxTokens: 4 },
  },
});
