// AdamW over the flat parameter buffer (Loshchilov and Hutter, "Decoupled weight decay regularization",
// arXiv 1711.05101), in one pass, with the gradient clipped to a global norm:
//
//   g = grad * min(1, max_grad_norm / (norm + 1e-6))
//   m = beta1 m + (1 - beta1) g           v = beta2 v + (1 - beta2) g^2
//   p = p (1 - lr decay) - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
//
// Matrices decay; norms and biases (one dimension) do not. The norm is summed in double in a fixed order, and no step
// depends on the CPU's vector width: the same inputs give the same bits everywhere.
// Not thread-safe. AdamW owns the moments; the parameters and gradients stay the caller's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/model/folder/model_config.h"

namespace tactus {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;  // 0 = no clipping
};

struct AdamWStep {
  int64_t t = 1;  // of this step, counting those taken: 1 for the first
  double lr = 0;
};

struct AdamWResult {
  double grad_norm = 0;  // before clipping
  bool skipped = false;  // the gradient held NaN or infinity: nothing changed
};

// The numbers of one step, in the precision of the update, for every device alike.
struct AdamWCoefficients {
  float clip = 1;
  float beta1 = 0, one_minus_beta1 = 0;
  float beta2 = 0, one_minus_beta2 = 0;
  float eps = 0;
  float keep = 1;                     // of a parameter that decays: 1 - lr * decay
  float step_size = 0;                // lr / (1 - beta1^t)
  float inverse_sqrt_correction = 1;  // 1 / sqrt(1 - beta2^t)

  static AdamWCoefficients Of(const AdamWOptions& options, const AdamWStep& step, double grad_norm);
};

class AdamW {
 public:
  explicit AdamW(const ParameterLayout& layout);

  // parameters, gradients [layout.total_numel].
  AdamWResult Step(const AdamWOptions& options, const AdamWStep& step, std::span<float> parameters,
                   std::span<const float> gradients);

  // The state a checkpoint keeps: [layout.total_numel] each.
  std::span<float> first_moment() { return first_; }
  std::span<float> second_moment() { return second_; }

 private:
  struct Segment {  // of one parameter
    int64_t begin = 0;
    int64_t end = 0;
    bool decays = false;
  };

  std::vector<Segment> segments_;
  std::vector<float> first_;   // m
  std::vector<float> second_;  // v
};

// sqrt of the sum of squares, in double, over blocks of fixed size in order. Not finite if any value is not.
double GlobalNorm(std::span<const float> values);

}  // namespace tactus
