// Alidade: teach models to reason about space. What a program of your own imports.

export { denseAdvantages, flowAdvantages } from "./algorithms/flow-advantages.ts";
export type { AdvantageMaps } from "./algorithms/flow-generation.ts";
export { flowGrpo, type FlowGrpoContext } from "./algorithms/flow-grpo.ts";
export { flowGrpoSettings, type FlowGrpoSettings } from "./algorithms/flow-grpo-settings.ts";
export { trainTask, type TrainTaskOptions } from "./cli/train-task.ts";
export * from "./core/errors.ts";
export type {
  AccumulateResult,
  Completion,
  Engine,
  Example,
  LogProbOptions,
  SampleOptions,
  Sequence,
  StepOptions,
  StepResult,
} from "./core/engine.ts";
export type {
  Denoised,
  DenoiseOptions,
  DenoiseStep,
  FlowBatch,
  FlowEngine,
  FlowPrompt,
  VelocityOptions,
} from "./core/flow-engine.ts";
export { supervisedLoss, type LossSpec } from "./core/loss-spec.ts";
export { flowAdvantageSettings, type FlowAdvantageSpec } from "./core/flow-spec.ts";
export type { Drawing, Illustration, ImageTask } from "./core/image-task.ts";
export { defineImageTask } from "./core/image-task.ts";
export type { Message } from "./core/messages.ts";
export { silentProgress, type Progress } from "./core/progress.ts";
export { randomStream, type Random } from "./core/random.ts";
export { defineTask, type Output, type RowFormat, type Scores, type Task } from "./core/task.ts";
export type { Scorer, SyncTask } from "./core/task.ts";
export { decodeNpy, encodeNpy, readNpy, writeNpy, type NdArray } from "./data/npy.ts";
export { drawGrid, type GridCell, type GridOptions } from "./image/grid.ts";
export { decodePng, encodePng } from "./image/png.ts";
export type { Raster } from "./image/raster.ts";
export { LocalFlowEngine, type LocalFlowEngineOptions } from "./engine/flow-engine.ts";
export { LocalEngine, type LocalEngineOptions } from "./engine/local-engine.ts";
export { evaluateTask, type TaskEvaluation } from "./evaluate/evaluate-task.ts";
export { flowMatchingLoss, weightedSum, type FlowLoss, type FlowRule } from "./losses/flow-loss.ts";
export { readFlowConfig } from "./models/flow-config.ts";
export { flowParameters, type FlowConfig } from "./models/flow-model.ts";
export type { DecoderConfig, LoraConfig } from "./models/decoder.ts";
export { readModelConfig } from "./models/hugging-face.ts";
export { mergeAdapter, readAdapter, writeAdapter, type Adapter } from "./models/peft.ts";
export { readSafetensors, type NamedArray } from "./nn/safetensors.ts";
export { httpImageScorer, type HttpScorerOptions } from "./rewards/http-image-scorer.ts";
export { testItems, trainItem } from "./rollout/items.ts";
export { scoreOutputs, type ScoredOutput, type ScoringSettings } from "./rollout/score-outputs.ts";
export { rollOut, type Environment } from "./rollout/single-turn.ts";
export { readSampleGroups, sampleStages, type SampleGroup } from "./run/sample-groups.ts";
export type { SampleRecord } from "./run/sample-record.ts";
export { readEvaluations, readMetrics, readSamples, RunDirectory } from "./run/run-directory.ts";
export { findSystem } from "./systems/registry.ts";
export {
  genevalMini,
  judgeDetections,
  judgedImage,
  judgeImages,
  keepDetections,
  officialVerdict,
  parseRecord,
  parseResult,
  promptTask,
  quadrantTask,
  readBenchmark,
  readCaptionIndex,
  readEditRecords,
  readImage,
  readImageFolders,
  readPrompts,
  readRecords,
  readResults,
  readSuppliedMaps,
  readSuppliedRewards,
  readTextPrompts,
  suppliedAdvantageMaps,
  summarise,
  textReward,
  trainingReward,
  writeBenchmark,
  writeCaptionIndex,
  writeImageFolder,
  writePrompts,
  writeResults,
  writeSplits,
  writeSuppliedMaps,
  writeSuppliedRewards,
  type CaptionRecord,
  type EditRecord,
  type GenevalRecord,
  type ImageFolder,
  type ImageResult,
  type JudgedImages,
  type SuppliedMap,
  type SuppliedMaps,
  type SuppliedReward,
  type SuppliedRewards,
} from "./tasks/image-generation/index.ts";
export { mazeTask } from "./tasks/maze/index.ts";
export { xiangqiTask } from "./tasks/xiangqi/index.ts";
export { configureRuntime } from "./tensor/index.ts";
export { ChatTokenizer } from "./text/chat-tokenizer.ts";
