// Who is better: classes of a value in centipawns, seen from Red.
//
// Paper: Xiangqi-R1, arXiv:2507.12215, Eq. 4: balanced up to 100 centipawns, a clear advantage from 800 on.

export const situations5 = [
  "Balanced",
  "Slight_Adv_Red",
  "Clear_Adv_Red",
  "Slight_Adv_Black",
  "Clear_Adv_Black",
] as const;
export type Situation5 = (typeof situations5)[number];

export const situations3 = ["Balanced", "Advantage_Red", "Advantage_Black"] as const;
export type Situation3 = (typeof situations3)[number];

/** Paper: σ_s and σ_l. */
const SLIGHT = 100;
const CLEAR = 800;

/** The class of a value for Red, in centipawns. */
export function situationOf(valueRed: number): Situation5 {
  const size = Math.abs(valueRed);
  if (size <= SLIGHT) return "Balanced";
  return `${size < CLEAR ? "Slight" : "Clear"}_Adv_${valueRed > 0 ? "Red" : "Black"}`;
}

/** Slight and clear advantages as one. */
export function coarse(situation: Situation5): Situation3 {
  if (situation === "Balanced") return situation;
  return situation.endsWith("Red") ? "Advantage_Red" : "Advantage_Black";
}

/** The class as the other end of the board sees it, with the colours exchanged. */
export function turnSituation<Name extends Situation5 | Situation3>(situation: Name): Name {
  return situation.replace(/Red|Black/, (side) => (side === "Red" ? "Black" : "Red")) as Name;
}

/** What a text says of the situation; null where it says nothing. A class without slight or clear is null in `five`. */
export function readSituation(text: string): { three: Situation3 | null; five: Situation5 | null } {
  const words = text.toLowerCase();
  if (/balanced|equal/.test(words)) return { three: "Balanced", five: "Balanced" };
  const [isRed, isBlack] = [/\bred\b|_red/.test(words), /\bblack\b|_black/.test(words)];
  if (isRed === isBlack || !/adv|slight|clear/.test(words)) return { three: null, five: null };
  const side = isRed ? "Red" : "Black";
  const three = `Advantage_${side}` as const;
  const [isSlight, isClear] = [words.includes("slight"), words.includes("clear")];
  if (isSlight === isClear) return { three, five: null };
  return { three, five: `${isSlight ? "Slight" : "Clear"}_Adv_${side}` };
}
