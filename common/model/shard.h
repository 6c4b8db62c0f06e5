// How much of a model each of a learner's ranks keeps.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <span>

namespace tactus {

// What a rank holds for its own slices alone; everything else is whole on every rank.
enum class Shard {
  kNone,        // nothing
  kOptimizer,   // master weights and moments
  kGradients,   // and gradients
  kParameters,  // and the weights that are computed with, which come when a pass needs them
};

// As learner.shard has it.
inline const char* ShardName(Shard shard) {
  switch (shard) {
    case Shard::kNone:
      return "NONE";
    case Shard::kOptimizer:
      return "OPTIMIZER";
    case Shard::kGradients:
      return "GRADIENTS";
    case Shard::kParameters:
      return "PARAMETERS";
  }
  std::abort();
}

// Longer buckets use a network better; with shorter ones the first is under way earlier in a backward pass.
inline constexpr int64_t kBucketBytes = int64_t{32} << 20;

// A rank's place in the division.
struct Sharding {
  Shard shard = Shard::kNone;
  int rank = 0;
  int world = 1;
  int64_t bucket_bytes = kBucketBytes;  // of float32 gradients that are added up at a time
  bool trains = true;                   // false: of a reference policy, which has no masters and moments at all
};

// [begin, end) of a flat buffer (ParameterLayout), in elements.
struct FlatRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const FlatRange&) const = default;
};

inline bool Overlap(const FlatRange& a, const FlatRange& b) { return a.begin < b.end && b.begin < a.end; }

// Together.
inline int64_t NumelOf(std::span<const FlatRange> ranges) {
  int64_t numel = 0;
  for (const FlatRange& range : ranges) numel += range.size();
  return numel;
}

}  // namespace tactus
