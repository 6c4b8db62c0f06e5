// AdamW over the flat parameter buffer (Loshchilov and Hutter, "Decoupled weight decay regularization",
// arXiv 1711.05101), in one pass, with the gradient clipped to a global norm:
//
//   g = grad * scale * min(1, max_grad_norm / (norm + 1e-6)), the two factors as one
//   m = beta1 m + (1 - beta1) g           v = beta2 v + (1 - beta2) g^2
//   p = p (1 - lr decay) - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)
//
// Matrices decay; norms and biases (one dimension) do not. The norm is summed in double in a fixed order, and no step
// depends on the CPU's vector width: the same inputs give the same bits everywhere, and an element the same whoever
// updates it.
// Not thread-safe. AdamW owns the moments; the parameters and gradients stay the caller's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/collective.h"
#include "common/model/folder/model_config.h"
#include "learner/train/shards.h"

namespace tactus {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;   // 0 = no clipping
  double skip_grad_norm = 0;  // a step with a longer gradient is skipped; 0 = none

  // Whether a gradient of this norm is not to be used: not finite, or too long.
  bool Skips(double grad_norm) const;
};

struct AdamWStep {
  int64_t t = 1;  // of this step, counting those taken: 1 for the first
  double lr = 0;
  double gradient_scale = 1;  // what the gradients still lack; the norm is of what is scaled
};

struct AdamWResult {
  double grad_norm = 0;  // before clipping
  bool skipped = false;  // AdamWOptions::Skips: nothing changed
};

// The numbers of one step, in the precision of the update, for every device alike.
struct AdamWCoefficients {
  float clip = 1;  // and the gradient's scale
  float beta1 = 0, one_minus_beta1 = 0;
  float beta2 = 0, one_minus_beta2 = 0;
  float eps = 0;
  float keep = 1;                     // of a parameter that decays: 1 - lr * decay
  float step_size = 0;                // lr / (1 - beta1^t)
  float inverse_sqrt_correction = 1;  // 1 / sqrt(1 - beta2^t)

  static AdamWCoefficients Of(const AdamWOptions& options, const AdamWStep& step, double grad_norm);
};

// [begin, end) of one parameter in a range, at most `longest` long, and how a step treats it.
struct AdamWPiece {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t place = 0;  // of `begin` when the ranges stand end to end
  bool decays = false;
};
// All of the parameters in ascending `ranges`, without the padding between them.
std::vector<AdamWPiece> CutForAdamW(const ParameterLayout& layout, std::span<const FlatRange> ranges, int64_t longest);

// Of some ranges of the buffer.
class AdamW {
 public:
  AdamW(const ParameterLayout& layout, std::span<const FlatRange> ranges);

  // parameters, gradients [layout.total_numel], of which the ranges are looked at. `grad_norm` is GlobalNorm's, scaled:
  // one that is not finite changes nothing.
  AdamWResult Step(const AdamWOptions& options, const AdamWStep& step, double grad_norm, std::span<float> parameters,
                   std::span<const float> gradients);

  // The state a checkpoint keeps: of the ranges, end to end.
  std::span<float> first_moment() { return first_; }
  std::span<float> second_moment() { return second_; }

 private:
  std::vector<AdamWPiece> pieces_;
  std::vector<float> first_;   // m
  std::vector<float> second_;  // v
};

// sqrt of the sum of squares over all ranks, each of which adds its `ranges` of `values`: in double, over blocks of
// fixed size in order, then by one sum over the ranks. Not finite if any value is not. The collective's errors.
absl::StatusOr<double> GlobalNorm(std::span<const float> values, std::span<const FlatRange> ranges,
                                  Collective& collective);

}  // namespace tactus
