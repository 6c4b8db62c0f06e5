// A policy's parameters, gradients and optimizer moments, and what is done to all of them at once, wherever they live:
// in host memory or on a GPU, whole on each rank or shared out among the ranks (shards.h). What leaves is an explicit
// snapshot in host memory.
//
// "Collective": every rank must call it with a collective of the world that the sharding was made for.
//
// Owned by the policy's thread. Errors as in TrainablePolicy, and those of the collective.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/dtype.h"
#include "common/collective/collective.h"
#include "common/weights/shared_weights.h"
#include "learner/train/adamw.h"
#include "learner/train/shards.h"

namespace tactus {

// Of a rank's share: its ranges end to end, float32 in host memory.
struct ParameterState {
  std::span<const float> parameters;
  std::span<const float> first_moment;
  std::span<const float> second_moment;
};

// The same, of one moment, while the policy goes on.
struct ParameterSnapshot {
  std::vector<float> parameters;
  std::vector<float> first_moment;
  std::vector<float> second_moment;
  operator ParameterState() const& { return {parameters, first_moment, second_moment}; }
};

// InvalidArgument: `state` is none of a share of `size` parameters.
absl::Status CheckState(const ParameterState& state, size_t size);

// Of `bytes`, the elements of `bucket`, `width` bytes each: those of tensors, without the padding between them, go
// behind `tensors`. Buckets are ascending.
void AppendTensors(const ParameterLayout& layout, const FlatRange& bucket, std::span<const char> bytes, size_t width,
                   std::vector<char>& tensors);

class TrainableParameters {
 public:
  virtual ~TrainableParameters() = default;
  virtual absl::Status ZeroGradients() = 0;
  // Collective. The gradients that this rank steps on become the sum over all ranks. Every rank makes this call once
  // per optimizer step, also one that had nothing to compute.
  virtual absl::Status ReduceGradients(Collective& collective) = 0;
  // Collective. One step of AdamW with the gradients, times step.gradient_scale; the policy computes with the new
  // parameters from then on. A gradient that AdamWOptions::Skips changes nothing on any rank.
  virtual absl::StatusOr<AdamWResult> Step(const AdamWOptions& options, const AdamWStep& step,
                                           Collective& collective) = 0;
  // What this rank keeps of masters and moments, and saves and restores; ascending. All of it, or with a sharded
  // optimizer what no other rank has.
  virtual std::span<const FlatRange> share() const = 0;
  // Of the share, for checkpoints. `room`: an earlier one, whose memory is used again.
  virtual absl::StatusOr<ParameterSnapshot> ReadState(ParameterSnapshot room) = 0;
  absl::StatusOr<ParameterSnapshot> ReadState() { return ReadState({}); }
  // Collective. The other way; without moments they are 0, as at the start. InvalidArgument: not the share's size.
  virtual absl::Status WriteState(const ParameterState& state, Collective& collective) = 0;
  // The parameters as they are published: rounded to `dtype`, the tensors end to end in the layout's order. Collective
  // where each rank has its own of them alone: then rank 0 has the result, and the others nothing.
  // `room`: memory to put them in, as EncodeWeights says. InvalidArgument: a type that the policy does not compute in.
  virtual absl::StatusOr<std::vector<char>> ReadWeights(StorageDType dtype, Collective& collective,
                                                        std::vector<char> room) = 0;
  absl::StatusOr<std::vector<char>> ReadWeights(StorageDType dtype, Collective& collective) {
    return ReadWeights(dtype, collective, {});
  }
  // The same where other processes of this machine can copy it from one GPU to another, as `version`; none in host
  // memory. A set stays until the one after the next.
  virtual absl::StatusOr<std::optional<SharedWeights>> Share(PolicyVersion version) = 0;
};

}  // namespace tactus
