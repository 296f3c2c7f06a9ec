// Settings of GenEval-mini.

import { z } from "zod";
import { rewardCompats } from "../training-reward.ts";
import { miniColors, shapes } from "./shapes.ts";

const share = (value: number, help: string) =>
  z.number().min(0).max(1).default(value).describe(help);

const unique = (list: readonly string[]): boolean => new Set(list).size === list.length;

const fields = z.object({
  classes: z
    .array(z.enum(shapes))
    .min(2)
    .max(3)
    .refine(unique, "different classes")
    .default(["circle", "square", "triangle"])
    .describe("classes of the training prompts; two make the task easier"),
  unseenClass: z
    .enum(shapes)
    .default("cross")
    .describe("class that base models are shown and no training prompt names"),
  colors: z
    .array(z.enum(miniColors))
    .min(2)
    .refine(unique, "different colours")
    .default([...miniColors])
    .describe("colours of objects and prompts; fewer make the task easier"),
  coloredPrompts: z
    .array(z.enum(["counting", "position"]))
    .refine(unique, "different tags")
    .default([])
    .describe("tags whose prompts name colours too: harder, and far more prompts"),
  snap: z
    .union([z.literal(1), z.literal(2), z.literal(4)])
    .default(2)
    .describe("objects stand at multiples of so many pixels; 4 is easier to learn than 1"),
  noise: z.number().min(0).max(0.2).default(0.02).describe("deviation of the noise on every pixel"),
  compat: z
    .enum(rewardCompats)
    .default("repo")
    .describe("training reward: repo (a wrong position still counts 0.75) or paper (2/3)"),
  floor: z
    .number()
    .max(0)
    .nullable()
    .default(null)
    .describe("least training reward of an image; null: none, as published"),
  wrong: z
    .object({
      single_object: share(0, "the image is never wrong"),
      two_object: share(0.15, "one object is missing, or is there twice"),
      counting: share(0.45, "another number from 1 to 5"),
      colors: share(0.15, "another colour"),
      position: share(0.65, "another relation"),
      color_attr: share(0.45, "colours swapped (60 %), or one of them another"),
    })
    .prefault({})
    .describe("how often an image for the base model does not show what its prompt says"),
});

export const miniConfig = fields.refine(
  ({ classes, unseenClass }) => classes.filter((name) => name !== unseenClass).length >= 2,
  { path: ["classes"], error: "two classes or more beside unseenClass" },
);
export type MiniConfig = z.output<typeof miniConfig>;
