// A learner's published weights in GPU memory, for actors on the GPUs of its machine: they copy from one to the other,
// and no byte passes through a host.
//
// A set lies behind a header that names its version. The learner writes version v + 1 beside v and v + 2 over v, so a
// reader that takes longer than a learner's step may be overwritten: it reads the header before and after the weights,
// and takes them only if both times it named the version. The writer takes the header away first and puts it back last;
// both sides' copies run in the order of their queues. The header also has the digest of the set as it lies in the
// memory, and a reader takes what it copied only if that has the same.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/device/runtime_cuda.h"
#include "common/weights/shared_weights.h"

namespace tactus {

// What makes digests on one GPU. Owned by one thread.
class ContentDigest {
 public:
  explicit ContentDigest(int gpu) : gpu_(gpu) {}
  // Of `bytes` of device memory, as the current queue leaves them: waits for it.
  uint64_t Of(const void* data, int64_t bytes);

 private:
  const int gpu_;
  at::Tensor parts_, host_parts_;  // on the GPU; pinned
};

// The learner's end. Owned by one thread.
class SharedWeightExport {
 public:
  // Memory for two sets of `elements` numbers, on GPU `gpu`, when the first is published.
  SharedWeightExport(int gpu, int64_t elements, StorageDType dtype);

  // Copies `flat` [elements], on that GPU and of any type, rounding it to the storage dtype; waits until it is there.
  // Internal: the GPU's library failed, or gives no handles: publish without.
  absl::StatusOr<SharedWeights> Publish(PolicyVersion version, const at::Tensor& flat);

 private:
  const int gpu_;
  const int64_t elements_;
  const StorageDType dtype_;
  ContentDigest digest_;
  at::Tensor header_;  // pinned
  std::map<int, device::ExportedMemory> sets_;
  int next_ = 0;
};

// The actor's end. Owned by one thread; keeps the learner's two sets open.
class SharedWeightImport {
 public:
  explicit SharedWeightImport(int gpu);

  // Copies the set to `to`, device memory for its elements, and waits until it is there.
  // Aborted: the learner has overwritten it: there is a newer one. Unavailable: the memory can't be opened from here.
  // DataLoss: what came is not what the learner wrote.
  absl::Status CopyTo(const SharedWeights& weights, void* to);

 private:
  const int gpu_;
  ContentDigest digest_;
  at::Tensor headers_;  // pinned: before and after
  std::map<std::string, device::ImportedMemory> open_;
};

}  // namespace tactus
