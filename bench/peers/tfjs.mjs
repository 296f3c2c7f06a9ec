// TensorFlow.js's side of the training step: the same decoder, loss, clipping and AdamW on its WebAssembly backend.
// Fair: the same weights and batch; SIMD is on; one thread, because in Node the backend has no other choice
// (WASM_HAS_MULTITHREAD_SUPPORT is false there). The embedding is a product with one-hot rows: the backend has no kernel for the
// gradient of a gather. Plain JavaScript, because its types are not among the project's dependencies.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { version_wasm as version } from "@tensorflow/tfjs-backend-wasm";

const job = JSON.parse(process.argv[2]);
const read = (name) => readFileSync(join(job.model, name));
const config = JSON.parse(read("config.json").toString());
const { hidden_size: width, num_attention_heads: heads, head_dim: headSize } = config;
const { rows, time } = job;

await tf.setBackend("wasm");
await tf.ready();

/** Variables of a safetensors file by name. */
function readWeights() {
  const bytes = read("model.safetensors");
  const headerLength = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength));
  const start = bytes.byteOffset + 8 + headerLength;
  const found = new Map();
  for (const [name, { shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const data = new Float32Array(
      bytes.buffer.slice(start + offsets[0], start + offsets[1]), // aligned
    );
    found.set(name, tf.variable(tf.tensor(data, shape), true, name));
  }
  return found;
}

const weights = readWeights();
const weight = (name) => weights.get(`model.${name}.weight`);

const norm = (x, scale) => {
  const rate = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), config.rms_norm_eps));
  return tf.mul(tf.mul(x, rate), scale);
};
const linear = (x, matrix) => tf.matMul(x, matrix, false, true);

const half = headSize / 2;
const table = (wave) =>
  tf.tensor(
    Float32Array.from({ length: time * half }, (_, index) =>
      wave(Math.floor(index / half) * config.rope_theta ** (-(index % half) / half)),
    ),
    [1, time, 1, half],
  );
const [cosine, sine] = [table(Math.cos), table(Math.sin)];
const mask = tf.tensor(
  Float32Array.from({ length: time * time }, (_, index) =>
    index % time > Math.floor(index / time) ? -1e9 : 0,
  ),
  [1, 1, time, time],
);

const rotate = (x) => {
  const [a, b] = tf.split(x, 2, 3); // [rows, time, heads, half]
  return tf.concat(
    [tf.sub(tf.mul(a, cosine), tf.mul(b, sine)), tf.add(tf.mul(b, cosine), tf.mul(a, sine))],
    3,
  );
};
const perHead = (x) => tf.transpose(x, [0, 2, 1, 3]);

function attention(x, at) {
  const split = (name) =>
    tf.reshape(linear(x, weight(`${at}.self_attn.${name}`)), [rows, time, heads, headSize]);
  const query = perHead(rotate(split("q_proj")));
  const key = perHead(rotate(split("k_proj")));
  const scores = tf.mul(tf.matMul(query, key, false, true), 1 / Math.sqrt(headSize));
  const mixed = tf.matMul(tf.softmax(tf.add(scores, mask)), perHead(split("v_proj")));
  const joined = tf.reshape(perHead(mixed), [rows * time, width]);
  return linear(joined, weight(`${at}.self_attn.o_proj`));
}

function mlp(x, at) {
  const gate = linear(x, weight(`${at}.mlp.gate_proj`));
  const up = linear(x, weight(`${at}.mlp.up_proj`));
  return linear(tf.mul(tf.mul(gate, tf.sigmoid(gate)), up), weight(`${at}.mlp.down_proj`));
}

const batch = JSON.parse(read("batch.json").toString()).tokens;
/** [tokens, vocabulary]; tf.oneHot gives integers on this backend, whatever dtype it is asked for. */
function oneHot(ids) {
  const data = new Float32Array(ids.length * config.vocab_size);
  ids.forEach((id, row) => {
    if (id >= 0) data[row * config.vocab_size + id] = 1;
  });
  return tf.tensor(data, [ids.length, config.vocab_size]);
}
const tokens = oneHot(batch.flat());
/** A row of zeros where there is nothing to predict. */
const targets = oneHot(batch.flatMap((row) => [...row.slice(1), -1]));
const counted = tf.sum(targets, 1);

function lossOf() {
  let x = tf.matMul(tokens, weight("embed_tokens"));
  for (let index = 0; index < config.num_hidden_layers; index++) {
    const at = `layers.${index}`;
    x = tf.add(x, attention(norm(x, weight(`${at}.input_layernorm`)), at));
    x = tf.add(x, mlp(norm(x, weight(`${at}.post_attention_layernorm`)), at));
  }
  const logits = linear(norm(x, weight("norm")), weight("embed_tokens"));
  const chosen = tf.sum(tf.mul(logits, targets), 1);
  const losses = tf.mul(tf.sub(tf.logSumExp(logits, 1), chosen), counted);
  return tf.div(tf.sum(losses), rows * (time - 1));
}

const settings = job.optimiser;
const moments = new Map(
  [...weights].map(([name, variable]) => [
    name,
    { first: tf.variable(tf.zerosLike(variable)), second: tf.variable(tf.zerosLike(variable)) },
  ]),
);
let steps = 0;

/** AdamW on every variable; returns the gradient norm before clipping. */
function update(grads) {
  steps++;
  const squares = Object.values(grads).map((gradient) => tf.sum(tf.square(gradient)));
  const gradientNorm = tf.sqrt(tf.addN(squares)).dataSync()[0];
  const clip = Math.min(1, settings.clipNorm / gradientNorm);
  const rate = settings.learningRate / (1 - settings.beta1 ** steps);
  const correction = 1 / Math.sqrt(1 - settings.beta2 ** steps);
  for (const [name, variable] of weights) {
    const { first, second } = moments.get(name);
    const gradient = clip === 1 ? grads[name] : tf.mul(grads[name], clip);
    first.assign(tf.add(tf.mul(first, settings.beta1), tf.mul(gradient, 1 - settings.beta1)));
    second.assign(
      tf.add(tf.mul(second, settings.beta2), tf.mul(tf.square(gradient), 1 - settings.beta2)),
    );
    const root = tf.add(tf.mul(tf.sqrt(second), correction), settings.epsilon);
    const decay = variable.rank > 1 ? 1 - settings.learningRate * settings.weightDecay : 1;
    variable.assign(tf.sub(tf.mul(variable, decay), tf.mul(tf.div(first, root), rate)));
  }
  return gradientNorm;
}

const memoryBytes = (name) =>
  Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync("/proc/self/status", "utf8"))[1]) *
  1024;
const startMemoryBytes = memoryBytes("VmRSS");
const [losses, gradientNorms, timesMs] = [[], [], []];
for (let run = 0; run < job.warmUp + job.repetitions; run++) {
  const start = performance.now();
  tf.tidy(() => {
    const { value, grads } = tf.variableGrads(lossOf, [...weights.values()]);
    gradientNorms.push(update(grads));
    losses.push(value.dataSync()[0]);
  });
  timesMs.push(performance.now() - start);
}
console.log(
  JSON.stringify({
    timesMs: timesMs.slice(job.warmUp),
    parameters: [...weights.values()].reduce((total, { size }) => total + size, 0),
    startMemoryBytes,
    peakMemoryBytes: memoryBytes("VmHWM"),
    versions: {
      node: process.versions.node,
      "@tensorflow/tfjs-backend-wasm": version,
    },
    evidence: { losses, gradientNorms },
  }),
);
