// The sizes of the experiments. `paper` holds the published settings as data: there is no FLUX here to run them on.

import { miniLevel, quadrantLevel } from "../flow-scales.ts";
import type { Scale } from "../system.ts";

/**
 * DanceGRPO's sampler, at as many steps as tiny models need: same noise within a group, no shift. Trained are the late steps alone:
 * before them nobody can tell where an object will be, and what is learned at one position holds for all.
 */
const dance = {
  steps: 10,
  schedule: { type: "uniform" },
  noise: { type: "dance", level: 0.3 },
  window: { type: "fixed", start: 5, size: 4 },
  initialNoise: "same",
};
/**
 * Adapters on the MLPs: their updates at one patch reach other patches least (measured: a push on the objects moves the background
 * 0.2 times as far, one through the modulations 0.8 times).
 */
const lora = { rank: 16, alpha: 32, targets: ["up_proj", "down_proj"] };
/** A narrower clip takes away what goes on in the direction of the last step, position by position: training stands still. */
const clip = 0.2;
/**
 * On this backbone the border rule puts every 20th map on the background (objects in corners); see docs/flows.md, Maps. Without the
 * cut the background keeps a few hundredths of every advantage, and all of it reddens as fast as with no map.
 */
const pixels = {
  map: { type: "psm", backbone: "ssl", sign: "area", smoothing: 0 },
  cut: 0.4,
};
const groupwise = { scale: "group", deviation: "sample" };

const grpo = {
  epochs: 60,
  prompts: 8,
  group: 16,
  sampling: dance,
  objective: { type: "policy", ratio: { type: "sample", low: 6e-4, high: 6e-4 } },
  advantages: groupwise,
  optimiser: { learningRate: 3e-3 },
};

/**
 * A square that fills its quadrant: patches are object or background, and redness has room in objects alone. Three quarters of the
 * noise in a reward come from the background, where ViPO must not follow it: with 8 x 16 images an epoch one of three seeds did.
 */
const quadrant = {
  ...quadrantLevel,
  task: { side: 6 },
  lora,
  grpo: { ...grpo, epochs: 120, prompts: 10, group: 32 },
  evaluate: { suites: ["train"], images: 20, steps: 20, every: 5 },
};

const mini = {
  ...miniLevel,
  lora,
  grpo,
  evaluate: { suites: ["test"], images: 10, steps: 40, every: 10 },
};

export const scales: Readonly<Record<string, Scale>> = {
  tiny: {
    summary:
      "one square on 12x12 pixels under a reward for redness: structure with and without maps",
    settings: { level: "quadrant", quadrant, pixels, clip },
  },
  small: {
    summary: "GenEval-mini under a reward for redness (E1): structure with and without maps",
    settings: { level: "mini", mini, pixels, clip },
  },
  preference: {
    summary:
      "GenEval-mini under a reward for clean shapes and colours (E2): accuracy, which it does not ask for",
    settings: {
      level: "mini",
      mini: { ...mini, reward: { redness: 0, templateIou: 0.5, colorPurity: 0.5 } },
      pixels,
      clip,
      methods: ["scalar", "vipo"],
    },
  },
  paper: {
    summary:
      "what is known of the published settings (DanceGRPO's on FLUX), on GenEval-mini: for reading; 300 updates at 720x720",
    settings: {
      level: "mini",
      methods: ["scalar", "vipo"],
      clip: 1e-4,
      pixels: {
        map: { type: "psm", backbone: "ssl", components: 3, smoothing: 1, aggregation: "weighted" },
      },
      mini: {
        ...miniLevel,
        grpo: {
          epochs: 100,
          prompts: 1,
          group: 12,
          updates: 3,
          sampling: {
            steps: 16,
            schedule: { type: "shifted", shift: 3 },
            noise: { type: "dance", level: 0.3 },
            window: { type: "all-but-last" },
            trainedShare: 0.6,
            initialNoise: "same",
          },
          objective: { type: "policy", ratio: { type: "sample", low: 1e-4, high: 1e-4 } },
          advantages: { ...groupwise, clip: 5 },
          optimiser: { learningRate: 1e-5, weightDecay: 1e-4, clipNorm: 1 },
        },
      },
    },
  },
};
