// The twelve published systems, and which of them this package can train today.

import { ConfigError, unknownName } from "../core/errors.ts";
import { alphamaze } from "./alphamaze/system.ts";
import { flowGrpoSystem } from "./flow-grpo/system.ts";
import type { System } from "./system.ts";
import { vipoSystem } from "./vipo/system.ts";
import { xiangqiR1System } from "./xiangqi-r1/system.ts";

/** Systems that train, evaluate and resume. */
export const systems: readonly System[] = [alphamaze, flowGrpoSystem, xiangqiR1System, vipoSystem];

export interface PublishedSystem {
  readonly name: string;
  readonly title: string;
  readonly arxiv: string;
  readonly summary: string;
}

/** Every system this project sets out to implement, in the order of the documentation. */
export const publishedSystems: readonly PublishedSystem[] = [
  {
    name: "alphamaze",
    title: "AlphaMaze: Enhancing Large Language Models' Spatial Intelligence via GRPO",
    arxiv: "2502.14669",
    summary: "a text model finds its way through token mazes",
  },
  {
    name: "spatial-vlm-investigator",
    title:
      "Enhancing Spatial Reasoning in Vision-Language Models via Chain-of-Thought Prompting and Reinforcement Learning",
    arxiv: "2507.13362",
    summary: "spatial questions about images; GRPO against SFT when the wording changes",
  },
  {
    name: "vsgrpo",
    title: "Improved Visual-Spatial Reasoning via R1-Zero-Like Training",
    arxiv: "2504.00883",
    summary: "distances, sizes and routes from videos of rooms",
  },
  {
    name: "spatial-r1",
    title: "Spatial-R1: Enhancing MLLMs in Video Spatial Reasoning",
    arxiv: "2504.01805",
    summary: "video spatial reasoning with a reward for a map of the scene",
  },
  {
    name: "flow-grpo",
    title: "Flow-GRPO: Training Flow Matching Models via Online RL",
    arxiv: "2505.05470",
    summary: "GRPO for image generators that flow from noise to data",
  },
  {
    name: "spatial-mllm",
    title: "Spatial-MLLM: Boosting MLLM Capabilities in Visual-based Spatial Intelligence",
    arxiv: "2505.23747",
    summary: "a second encoder for geometry, and frames chosen to cover the scene",
  },
  {
    name: "euclids-gift",
    title:
      "Euclid's Gift: Enhancing Spatial Perception and Reasoning in Vision-Language Models via Geometric Surrogate Tasks",
    arxiv: "2509.24473",
    summary: "geometry problems as training for spatial perception",
  },
  {
    name: "actial",
    title: "Actial: Activate Spatial Reasoning Ability of Multimodal Large Language Models",
    arxiv: "2511.01618",
    summary: "viewpoint questions about pairs of views of one object",
  },
  {
    name: "xiangqi-r1",
    title:
      "Xiangqi-R1: Enhancing Spatial Strategic Reasoning in LLMs for Chinese Chess via Reinforcement Learning",
    arxiv: "2507.12215",
    summary: "moves and judgements on a Chinese chess board",
  },
  {
    name: "uav-vl-r1",
    title:
      "UAV-VL-R1: Generalizing Vision-Language Models via Supervised Fine-Tuning and Multi-Stage GRPO for UAV Visual Reasoning",
    arxiv: "2508.11196",
    summary: "questions about aerial images, in stages of rising difficulty",
  },
  {
    name: "vipo",
    title: "Seeing What Matters: Visual Preference Policy Optimization for Visual Generation",
    arxiv: "2511.18719",
    summary: "a group advantage that is spread over the image where it matters",
  },
  {
    name: "framemind",
    title: "FrameMind: Frame-Interleaved Video Reasoning via Reinforcement Learning",
    arxiv: "2509.24008",
    summary: "a model that asks for video frames while it reasons",
  },
];

/** The trainable system with this name; throws a ConfigError that says whether it is planned or unknown. */
export function findSystem(name: string, known: readonly System[] = systems): System {
  const system = known.find((one) => one.name === name);
  if (system !== undefined) return system;
  const ready = known.map((one) => one.name);
  if (publishedSystems.some((one) => one.name === name)) {
    const expected = "a system that can be trained today";
    const hint = `it is planned; ready: ${ready.join(", ") || "none"}`;
    throw new ConfigError({ where: "system", expected, got: JSON.stringify(name), hint });
  }
  const all = new Set([...ready, ...publishedSystems.map((one) => one.name)]);
  throw unknownName("system", "system", name, all);
}
