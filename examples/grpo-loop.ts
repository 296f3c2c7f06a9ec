// GRPO in one file: sample groups, score them, compare, step. No stage, no system, no run directory: what remains of the
// algorithm when everything around it is taken away. It computes the losses of the GRPO stage with the same seed, to the bit
// (examples/grpo-loop.test.ts).
//
//   npx tsx examples/grpo-loop.ts

import { pathToFileURL } from "node:url";
import { ChatTokenizer, LocalEngine, randomStream, supervisedLoss, trainItem } from "alidade";
import type { Engine, Example, StepOptions, Task } from "alidade";
import { resolveLoss, type PolicyChoice } from "alidade/losses";
import { countLetters } from "./count-letters/task.ts";

export interface LoopOptions<Item, Config> {
  readonly engine: Engine;
  readonly tokenizer: Pick<ChatTokenizer, "encodePrompt" | "decodeAnswer" | "stopTokens">;
  readonly task: Task<Item, Config>;
  readonly config: Config;
  readonly seed: number;
  /** The item with this index, from the training split. */
  readonly item: (index: number) => Item;
  readonly steps: number;
  readonly prompts: number;
  readonly group: number;
  readonly maxTokens: number;
  readonly optimiser: StepOptions;
  /** A profile and what differs from it. */
  readonly loss: PolicyChoice;
}

/** A_i = (r_i − mean(r)) / (std(r) + 1e-4), std with n − 1. */
export function groupRelative(rewards: readonly number[]): number[] {
  if (rewards.every((reward) => reward === rewards[0])) return rewards.map(() => 0);
  const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
  const squares = rewards.reduce((sum, reward) => sum + (reward - mean) ** 2, 0);
  const deviation = Math.sqrt(squares / (rewards.length - 1));
  return rewards.map((reward) => (reward - mean) / (deviation + 1e-4));
}

/** One optimiser step a batch of groups; returns the losses, and tells each step. */
export async function grpoLoop<Item, Config>(
  options: LoopOptions<Item, Config>,
  tell: (step: number, reward: number, loss: number) => void = () => {},
): Promise<number[]> {
  const { engine, tokenizer, task, config, seed, prompts, group } = options;
  const resolved = resolveLoss(options.loss);
  if (resolved.type !== "policy-gradient") throw new Error("GRPO needs a policy-gradient loss");
  const loss = { type: "policy-gradient", temperature: 1, ...resolved.spec } as const;
  const withReference = loss.kl.type === "loss" && loss.kl.weight > 0;
  if (withReference) await engine.freezeReference();

  const losses: number[] = [];
  for (let step = 1; step <= options.steps; step++) {
    // 1. Items and prompts.
    const items = Array.from({ length: prompts }, (_, index) =>
      options.item((step - 1) * prompts + index),
    );
    const promptTokens = items.map((item) => tokenizer.encodePrompt(task.prompt(item, config)));

    // 2. A group of completions for each prompt.
    const completions = await engine.sample(promptTokens, {
      group,
      maxTokens: options.maxTokens,
      temperature: 1,
      stop: tokenizer.stopTokens,
      random: (prompt, sample) => randomStream(seed, "rollout", step, prompt, sample),
    });

    // 3. Rewards, and how each compares with its group.
    const rewards = await Promise.all(
      completions.map((list, prompt) =>
        Promise.all(
          list.map(async ({ tokens, stopReason }) => {
            const output = { text: tokenizer.decodeAnswer(tokens), stopReason };
            const never = new AbortController().signal;
            const scores = await task.score(items[prompt]!, output, config, never);
            const score = scores[task.accuracy] ?? Number.NaN;
            if (Number.isFinite(score)) return score; // no number is not a zero: docs/rewards.md
            throw new Error(`no ${task.accuracy} for item ${prompt} of step ${step}`);
          }),
        ),
      ),
    );
    const advantages = rewards.map(groupRelative);

    // 4. What the loss reads of each completion.
    const batch = completions.flatMap((list, prompt) =>
      list.map(({ tokens, logProbs }, sample): Example => ({
        tokens: Int32Array.from([...promptTokens[prompt]!, ...tokens]),
        promptLength: promptTokens[prompt]!.length,
        advantage: advantages[prompt]![sample]!,
        sampler: logProbs,
      })),
    );
    const reference = withReference
      ? await engine.logProbs(batch, { policy: "reference", temperature: 1 })
      : undefined;
    const examples = batch.map((example, index) =>
      reference === undefined ? example : { ...example, reference: reference[index]! },
    );

    // 5. Gradient and step.
    const result = await engine.accumulate(examples, loss);
    await engine.step(options.optimiser);
    losses.push(result.loss);
    const flat = rewards.flat();
    tell(step, flat.reduce((sum, reward) => sum + reward, 0) / flat.length, result.loss);
  }
  return losses;
}

async function main(): Promise<void> {
  const [task, seed, config] = [countLetters, 1, countLetters.config.parse({})];
  const tokenizer = ChatTokenizer.ofTokens([]);
  const heads = { heads: 4, kvHeads: 4, headSize: 16, hiddenWidth: 160, ropeTheta: 10_000 };
  const flags = { normEpsilon: 1e-6, qkvBias: false, qkNorm: true, tiedEmbeddings: true };
  const { vocabularySize } = tokenizer;
  const size = { vocabularySize, contextLength: 64, layers: 2, width: 64 };
  const engine = new LocalEngine({ ...size, ...heads, ...flags });
  engine.initialise(randomStream(seed, "weights"));
  const item = (index: number) => trainItem(task, config, seed, index);
  const adam = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clipNorm: 1 };
  const optimiser = { ...adam, learningRate: 1e-3 };

  // Some supervised steps first: random weights do not even write digits, so nothing would be rewarded.
  for (let step = 0; step < 40; step++) {
    const batch = Array.from({ length: 64 }, (_, index): Example => {
      const one = item(1_000_000 + 64 * step + index);
      const prompt = tokenizer.encodePrompt(task.prompt(one, config));
      const answer = tokenizer.encodeAnswer(task.gold(one, config, randomStream(seed, "gold")));
      return { tokens: Int32Array.from([...prompt, ...answer]), promptLength: prompt.length };
    });
    await engine.accumulate(batch, supervisedLoss);
    await engine.step({ ...optimiser, learningRate: 2e-3 });
  }
  await engine.resetOptimiser();
  const sizes = { steps: 60, prompts: 32, group: 8, maxTokens: 4 };
  const options = { engine, tokenizer, task, config, seed, item, ...sizes, optimiser };
  await grpoLoop({ ...options, loss: { profile: "trl-1.13" } }, (step, reward, loss) => {
    if (step % 5 === 0) console.log(`step ${step}  reward ${reward.toFixed(3)}  loss ${loss}`);
  });
  engine.dispose();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main();
