// What the settings of a flow recipe must fulfil together. Looked at before there is a run: what cannot work must not be found out
// when a base model has been trained for it.

import type { FlowGrpoSettings } from "../algorithms/flow-grpo-settings.ts";
import { ConfigError } from "../core/errors.ts";
import { stepCoefficients } from "../core/flow-transition.ts";
import { randomStream } from "../core/random.ts";
import { flowSteps } from "../rollout/flow-schedule.ts";
import type { FlowLevelConfig } from "./flow-settings.ts";

/** @throws ConfigError for settings that make no step, or none that can be trained. */
function checkSampling({ sampling, objective }: FlowGrpoSettings): void {
  const steps = flowSteps(sampling, 0, randomStream("check"));
  if (objective.type !== "policy") return;
  const isTrained = steps.some(
    (step) => step.isTrained && stepCoefficients(sampling.noise, step).deviation > 0,
  );
  if (isTrained) return;
  const { noise, window } = sampling;
  throw new ConfigError({
    where: noise.level === 0 ? "grpo.sampling.noise.level" : "grpo.sampling.window",
    expected: noise.level === 0 ? "a level above 0" : "a step that draws noise",
    got: noise.level === 0 ? "0" : JSON.stringify(window),
    hint: "the policy objective trains steps that draw",
  });
}

/** @throws ConfigError where guidance needs a velocity that nothing trains. */
function checkGuidance({ base, grpo, evaluate }: FlowLevelConfig<unknown>): void {
  const guided = { "grpo.guidance": grpo, "evaluate.guidance": evaluate };
  const isTrained = base.from !== null || base.dropPrompt > 0;
  const [where] = Object.entries(guided).find(([, { guidance }]) => guidance !== 1) ?? [];
  if (where === undefined || isTrained) return;
  throw new ConfigError({
    where: "base.dropPrompt",
    expected: `a share above 0, for ${where}`,
    got: "0: nothing trains the velocity without a prompt",
  });
}

/** @throws ConfigError where no score has a weight: nothing would be trained. */
function checkReward({ reward }: FlowLevelConfig<unknown>): void {
  if (Object.values(reward).some((weight) => weight !== 0)) return;
  const expected = `a weight for one of ${Object.keys(reward).join(", ")}`;
  throw new ConfigError({ where: "reward", expected, got: "0 for all of them" });
}

/** @throws ConfigError for the first thing that cannot work. */
export function checkFlowLevel(config: FlowLevelConfig<unknown>): void {
  checkGuidance(config);
  if (config.grpo.epochs === 0) return;
  checkReward(config);
  checkSampling(config.grpo);
}
