// alidade/losses: any loss of the framework by itself, for engines that only know log-probabilities and for checking it.

export type {
  Aggregation,
  PolicySpec,
  PreferenceSpec,
  Surrogate,
  KlSpec,
  SamplerUse,
} from "../core/loss-spec.ts";
export {
  evaluateLoss,
  type BatchWindow,
  type LossBatch,
  type LossValue,
  type Ragged,
} from "./evaluate-loss.ts";
export { profileNames, profiles, type Profile, type ProfileName } from "./profiles/index.ts";
export { resolveLoss, type LossChoice, type PolicyChoice } from "./resolve-loss.ts";
