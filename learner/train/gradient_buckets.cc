#include "learner/train/gradient_buckets.h"

namespace tactus {

std::vector<GradientBucket> CutGradientBuckets(const ParameterLayout& layout, int64_t bucket_bytes) {
  const int64_t bucket_numel = bucket_bytes / static_cast<int64_t>(sizeof(float));
  std::vector<GradientBucket> buckets;
  int64_t end = layout.total_numel;  // of the parameter at hand, with its padding
  for (auto spec = layout.specs.rbegin(); spec != layout.specs.rend(); ++spec) {
    if (!buckets.empty() && buckets.back().end - spec->offset <= bucket_numel) {
      buckets.back().begin = spec->offset;
    } else {
      buckets.push_back({spec->offset, end});
    }
    end = spec->offset;
  }
  return buckets;
}

}  // namespace tactus
