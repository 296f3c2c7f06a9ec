// Four sequences with the losses that TRL 1.13.0 and verl give for them, computed by running the loss functions of those
// packages, unchanged, in float64. Rows are ragged `[sequence][time]`.

export const goldenBatch = {
  logprobs: [[-0.7, -2.3, -0.5], [-1, -0.9], [-0.1, -0.1, -0.4, -0.4], [-2.5]],
  old: [[-1, -2, -0.5], [-0.7, -1.2], [-0.1, -0.2, -0.3, -0.4], [-3]],
  reference: [[-1.1, -2, -0.6], [-0.7, -1], [-0.2, -0.2, -0.3, -0.3], [-3.1]],
  sampler: [[-1.1, -1.9, -0.5], [-0.7, -1.3], [-0.1, -0.2, -1.6, -0.4], [-3.2]],
  advantages: [1, -1, 0.5, -0.5],
};
