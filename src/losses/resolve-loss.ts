// A loss as a person gives it (a profile's name, a profile with changes, a spec) becomes a loss with every choice made.

import { z } from "zod";
import { unknownName } from "../core/errors.ts";
import { aggregationSettings, policySettings, preferenceSettings } from "../core/loss-spec.ts";
import type { Aggregation, PolicySpec, PreferenceSpec } from "../core/loss-spec.ts";
import { resolveSettings } from "../core/settings.ts";
import { profileNames, profiles, type ProfileName } from "./profiles/index.ts";

/** Nested and partial; what is left out has the value of the profile, or else the default. */
type Changes<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { readonly [Key in keyof T]?: Changes<T[Key]> }
    : T;

export type PolicyChoice = Changes<z.input<typeof policySettings>> & {
  readonly type?: "policy-gradient";
  /** Profile to start from; absent: the defaults of the spec. */
  readonly profile?: ProfileName;
};

/** What `evaluateLoss` takes as a loss. */
export type LossChoice =
  | ProfileName
  | PolicyChoice
  | { readonly type: "cross-entropy"; readonly aggregation?: Changes<Aggregation> }
  | ({ readonly type: "preference" } & Changes<PreferenceSpec>);

export type ResolvedLoss =
  | { readonly type: "policy-gradient"; readonly spec: PolicySpec }
  | { readonly type: "cross-entropy"; readonly aggregation: Aggregation }
  | { readonly type: "preference"; readonly spec: PreferenceSpec };

const supervisedSettings = z.object({
  aggregation: aggregationSettings.prefault({ type: "token-mean" }),
});

/** Throws a ConfigError that names the choice and what it may be. */
export function resolveLoss(choice: LossChoice): ResolvedLoss {
  if (typeof choice === "string") return resolveLoss({ profile: choice });
  if (choice.type === "cross-entropy") {
    const { type, ...changes } = choice;
    return { type, ...resolveSettings(supervisedSettings, [changes], []) };
  }
  if (choice.type === "preference") {
    const { type, ...changes } = choice;
    return { type, spec: resolveSettings(preferenceSettings, [changes], []) };
  }
  const { type: _type, profile, ...changes } = choice;
  const layers = profile === undefined ? [changes] : [profileNamed(profile).settings.loss, changes];
  return { type: "policy-gradient", spec: resolveSettings(policySettings, layers, []) };
}

function profileNamed(name: string) {
  if (!Object.hasOwn(profiles, name)) throw unknownName("loss", "profile", name, profileNames);
  return profiles[name as ProfileName];
}
