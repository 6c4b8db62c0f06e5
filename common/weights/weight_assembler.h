// Puts a set of weights together from its manifest and chunks, trusting neither: the manifest must describe exactly
// the model this process runs, chunks must come in order and within their bounds, and every tensor must have its
// SHA-256. What comes out is a whole verified set or an error, never a part.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/sha256.h"
#include "common/data/types.h"
#include "common/model/folder/model_config.h"
#include "common/weights/weight_publisher.h"

namespace tactus {

inline constexpr size_t kMaxWeightChunkBytes = size_t{1} << 20;

struct ReceivedWeights {
  PolicyVersion version;
  std::vector<float> flat;                       // [layout.total_numel], the padding 0; empty with `shared`
  std::optional<HeadClasses> head_classes = {};  // the manifest's
  uint64_t wire_bytes = 0;                       // of the tensors as they came
  std::optional<SharedWeights> shared = {};      // where to copy them from instead
};

// Not thread-safe. Use: Start, Append until done(), Finish. After an error it must be thrown away.
class WeightAssembler {
 public:
  // InvalidArgument names the first tensor in which the manifest differs from `layout`.
  static absl::Status Check(const WeightManifest& manifest, const ParameterLayout& layout);

  // `layout` must outlive the assembler. Errors of Check. Allocates the whole set, whose size is the layout's.
  static absl::StatusOr<WeightAssembler> Start(const WeightManifest& manifest, const ParameterLayout& layout);

  // The next bytes. InvalidArgument: out of order, too large or beyond the end. DataLoss: a tensor's hash is wrong.
  absl::Status Append(uint64_t offset, absl::string_view data);

  bool done() const { return received_ == manifest_.total_bytes; }

  // DataLoss when bytes are missing; InvalidArgument when a value is NaN or infinity.
  absl::StatusOr<ReceivedWeights> Finish();

 private:
  WeightAssembler(const WeightManifest& manifest, const ParameterLayout& layout);
  absl::Status FinishTensorIfFull();

  WeightManifest manifest_;
  const ParameterLayout* layout_;
  std::vector<float> flat_;
  uint64_t received_ = 0;
  size_t tensor_ = 0;             // the one being filled
  uint64_t tensor_received_ = 0;  // bytes of it
  std::unique_ptr<Sha256> hash_;  // of them
};

}  // namespace tactus
