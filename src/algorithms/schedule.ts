/** Learning rate over a stage, as a factor of its peak. */
export interface Schedule {
  readonly type: "constant" | "linear" | "cosine";
  /** Share of the steps that climb linearly from zero to the peak. */
  readonly warmup: number;
  /** Factor at the last step (linear and cosine). */
  readonly floor: number;
}

/**
 * Factor in (0, 1] for `step` = 1 … `steps`: climbs to 1 over the first warmup · steps, then stays (constant), or falls to
 * the floor along a line or half a cosine wave.
 */
export function scheduleFactor(schedule: Schedule, step: number, steps: number): number {
  const climbing = Math.round(schedule.warmup * steps);
  if (step <= climbing) return step / climbing;
  if (schedule.type === "constant") return 1;
  const progress = steps === climbing ? 1 : (step - climbing) / (steps - climbing);
  const fall = schedule.type === "linear" ? 1 - progress : (1 + Math.cos(Math.PI * progress)) / 2;
  return schedule.floor + (1 - schedule.floor) * fall;
}
