#include "learner/train/adamw.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/base/status_macros.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

constexpr int64_t kBlock = 1 << 15;     // floats per piece of work: fits a core's cache with its moments
constexpr int64_t kBlocksPerPiece = 8;  // of a thread at a time
constexpr size_t kLanes = 16;

// The compiler vectorises both loops below at the width of the function they are inlined into. Without fused
// multiply-add (the build forbids contraction) every width gives the same bits.
[[gnu::always_inline]] inline void UpdateLoop(const AdamWCoefficients& c, int64_t n, const float* __restrict gradient,
                                              float* __restrict parameter, float* __restrict first,
                                              float* __restrict second) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i] * c.clip;
    const float m = c.beta1 * first[i] + c.one_minus_beta1 * g;
    const float v = c.beta2 * second[i] + c.one_minus_beta2 * (g * g);
    first[i] = m;
    second[i] = v;
    const float denominator = std::sqrt(v) * c.inverse_sqrt_correction + c.eps;
    parameter[i] = parameter[i] * c.keep - c.step_size * (m / denominator);
  }
}

[[gnu::always_inline]] inline double SquaresLoop(const float* values, int64_t n) {
  std::array<double, kLanes> lanes = {};
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kLanes) <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + static_cast<int64_t>(lane)];
      lanes[lane] += value * value;
    }
  }
  for (size_t lane = 0; i < n; ++i, ++lane) lanes[lane] += double{values[i]} * double{values[i]};
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

using UpdateFunction = void (*)(const AdamWCoefficients&, int64_t, const float*, float*, float*, float*);
using SquaresFunction = double (*)(const float*, int64_t);

void UpdateBaseline(const AdamWCoefficients& c, int64_t n, const float* g, float* p, float* m, float* v) {
  UpdateLoop(c, n, g, p, m, v);
}
double SquaresBaseline(const float* values, int64_t n) { return SquaresLoop(values, n); }

#if defined(__x86_64__)
[[gnu::target("avx2")]] void UpdateAvx2(const AdamWCoefficients& c, int64_t n, const float* g, float* p, float* m,
                                        float* v) {
  UpdateLoop(c, n, g, p, m, v);
}
[[gnu::target("avx2")]] double SquaresAvx2(const float* values, int64_t n) { return SquaresLoop(values, n); }
const bool kAvx2 = __builtin_cpu_supports("avx2") != 0;
const UpdateFunction kUpdate = kAvx2 ? UpdateAvx2 : UpdateBaseline;
const SquaresFunction kSquares = kAvx2 ? SquaresAvx2 : SquaresBaseline;
#else
const UpdateFunction kUpdate = UpdateBaseline;
const SquaresFunction kSquares = SquaresBaseline;
#endif

double SumOfSquares(std::span<const float> values) {
  const int64_t size = static_cast<int64_t>(values.size());
  std::vector<double> partial(static_cast<size_t>((size + kBlock - 1) / kBlock));
  ops::ParallelFor(static_cast<int64_t>(partial.size()), kBlocksPerPiece, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      partial[static_cast<size_t>(b)] = kSquares(values.data() + b * kBlock, std::min(kBlock, size - b * kBlock));
    }
  });
  double sum = 0;
  for (const double block : partial) sum += block;
  return sum;
}

}  // namespace

absl::StatusOr<double> GlobalNorm(std::span<const float> values, std::span<const FlatRange> ranges,
                                  Collective& collective) {
  double sum = 0;
  for (const FlatRange& range : ranges) {
    sum += SumOfSquares(values.subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size())));
  }
  RETURN_IF_ERROR(collective.AllReduceSum(std::span(&sum, 1)));
  return std::sqrt(sum);
}

bool AdamWOptions::Skips(double grad_norm) const {
  return !std::isfinite(grad_norm) || (skip_grad_norm > 0 && grad_norm > skip_grad_norm);
}

AdamWCoefficients AdamWCoefficients::Of(const AdamWOptions& options, const AdamWStep& step, double grad_norm) {
  const double t = static_cast<double>(step.t);
  AdamWCoefficients c;
  const double clip = options.max_grad_norm > 0 ? std::min(1.0, options.max_grad_norm / (grad_norm + 1e-6)) : 1;
  c.clip = static_cast<float>(step.gradient_scale * clip);
  c.beta1 = static_cast<float>(options.beta1);
  c.beta2 = static_cast<float>(options.beta2);
  c.one_minus_beta1 = static_cast<float>(1 - options.beta1);
  c.one_minus_beta2 = static_cast<float>(1 - options.beta2);
  c.eps = static_cast<float>(options.eps);
  c.keep = static_cast<float>(1 - step.lr * options.weight_decay);
  c.step_size = static_cast<float>(step.lr / (1 - std::pow(options.beta1, t)));
  c.inverse_sqrt_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, t)));
  return c;
}

std::vector<AdamWPiece> CutForAdamW(const ParameterLayout& layout, std::span<const FlatRange> ranges, int64_t longest) {
  std::vector<AdamWPiece> pieces;
  int64_t place = 0;  // of the range's begin
  for (const FlatRange& range : ranges) {
    auto spec = std::ranges::upper_bound(layout.specs, range.begin, {}, &ParameterSpec::offset);
    if (spec != layout.specs.begin()) --spec;
    for (; spec != layout.specs.end() && spec->offset < range.end; ++spec) {
      const int64_t end = std::min(range.end, spec->offset + spec->numel);
      for (int64_t begin = std::max(range.begin, spec->offset); begin < end; begin += longest) {
        pieces.push_back({begin, std::min(end, begin + longest), place + begin - range.begin, spec->shape.size() >= 2});
      }
    }
    place += range.size();
  }
  return pieces;
}

AdamW::AdamW(const ParameterLayout& layout, std::span<const FlatRange> ranges)
    : pieces_(CutForAdamW(layout, ranges, kBlock)),
      first_(static_cast<size_t>(NumelOf(ranges)), 0.0f),
      second_(static_cast<size_t>(NumelOf(ranges)), 0.0f) {}

AdamWResult AdamW::Step(const AdamWOptions& options, const AdamWStep& step, double grad_norm,
                        std::span<float> parameters, std::span<const float> gradients) {
  if (options.Skips(grad_norm)) return {.grad_norm = grad_norm, .skipped = true};
  const AdamWCoefficients decaying = AdamWCoefficients::Of(options, step, grad_norm);
  AdamWCoefficients constant = decaying;
  constant.keep = 1;
  ops::ParallelFor(static_cast<int64_t>(pieces_.size()), kBlocksPerPiece, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p) {
      const AdamWPiece& piece = pieces_[static_cast<size_t>(p)];
      kUpdate(piece.decays ? decaying : constant, piece.end - piece.begin, gradients.data() + piece.begin,
              parameters.data() + piece.begin, first_.data() + piece.place, second_.data() + piece.place);
    }
  });
  return {.grad_norm = grad_norm};
}

}  // namespace tactus
