// AdamW over the flat parameter buffer (Loshchilov and Hutter, "Decoupled weight decay regularization",
// arXiv 1711.05101), in one pass, with the gradient clipped to a global norm:
//
//   g = grad * min(1, max_grad_norm / (norm + 1e-6))
//   m = beta1 m + (1 - beta1) g           v = beta2 v + (1 - beta2) g^2
//   p = p (1 - lr decay) - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
//
// Matrices decay; norms and biases (one dimension) do not. The norm is summed in double in a fixed order, and no step
// depends on the CPU's vector width: the same inputs give the same bits everywhere.
// Not thread-safe. Owns the moments; the parameters and gradients stay the caller's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/model/model_config.h"

namespace tactus {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0 = no clipping
};

class AdamW {
 public:
  AdamW(const ParameterLayout& layout, const AdamWOptions& options);

  struct StepResult {
    double grad_norm = 0;  // before clipping
    bool skipped = false;  // the gradient held NaN or infinity: nothing changed but skipped_steps()
  };
  // parameters, gradients [layout.total_numel].
  StepResult Step(std::span<float> parameters, std::span<const float> gradients, double lr);

  // The state a checkpoint keeps: [layout.total_numel] each, and the counts.
  std::span<float> first_moment() { return first_; }
  std::span<float> second_moment() { return second_; }
  int64_t steps() const { return steps_; }  // taken, not counting skipped ones
  int64_t skipped_steps() const { return skipped_steps_; }
  // After the moments were overwritten. InvalidArgument: a negative count.
  absl::Status RestoreCounts(int64_t steps, int64_t skipped_steps);

 private:
  struct Segment {  // of one parameter
    int64_t begin = 0;
    int64_t end = 0;
    bool decays = false;
  };

  const AdamWOptions options_;
  std::vector<Segment> segments_;
  std::vector<float> first_;   // m
  std::vector<float> second_;  // v
  int64_t steps_ = 0;
  int64_t skipped_steps_ = 0;
};

// sqrt of the sum of squares, in double, over blocks of fixed size in order. Not finite if any value is not.
double GlobalNorm(std::span<const float> values);

}  // namespace tactus
