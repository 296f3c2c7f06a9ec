// Every profile by name.

import { paperProfiles } from "./papers.ts";
import type { Profile } from "./profile.ts";
import { trainerProfiles } from "./trainers.ts";
import { trlProfiles } from "./trl.ts";

export type { Profile } from "./profile.ts";

const all = { ...trlProfiles, ...trainerProfiles, ...paperProfiles };

export type ProfileName = keyof typeof all;
export const profileNames = Object.keys(all) as ProfileName[];
export const profiles: Readonly<Record<ProfileName, Profile>> = all;
