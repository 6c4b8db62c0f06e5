// The decoder (Llama, Qwen2, Qwen3 families), forward pass. Actor and learner run this same code on the same
// parameters: every op's result for a row depends on that row's sequence alone, so log-probs agree to the last bit
// however rows are batched, packed or cut (docs/adr: row-invariant kernels).
//
// Shapes: T rows (tokens) of a step, H hidden, V vocabulary, R chosen rows.
// Not thread-safe: one thread owns a DecoderLm; the ops inside use the process's intra-op threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/model/folder/hf_folder.h"
#include "common/model/folder/model_config.h"
#include "common/model/forward_batch.h"
#include "common/model/kv_cache.h"

namespace tactus {

class DecoderLm {
 public:
  // Allocates zero parameters. Unimplemented: a device this build has no kernels for.
  static absl::StatusOr<std::unique_ptr<DecoderLm>> Create(const ModelConfig& config, StorageDType weights_dtype);
  // Opens the folder and loads its weights.
  static absl::StatusOr<std::unique_ptr<DecoderLm>> FromFolder(const ModelFolder& folder, StorageDType weights_dtype);
  ~DecoderLm();

  const ModelConfig& config() const;
  const ParameterLayout& layout() const;

  // The float32 parameters [layout().total_numel]. After writing to them, call PackWeights before the next forward.
  std::span<float> parameters();
  std::span<const float> parameters() const;
  // Rounds to the storage dtype and lays the matrices out for the kernels.
  void PackWeights();

  // Appends the rows' keys and values to the cache's pages and writes the final normed hidden states [T, H].
  void Forward(const ForwardBatch& batch, KvCache& cache, at::Tensor& hidden);

  // Logits [R, V] of the chosen rows of `hidden`.
  void Logits(const at::Tensor& hidden, std::span<const int32_t> rows, at::Tensor& logits);

 private:
  friend class TrainableLm;
  struct Impl;
  explicit DecoderLm(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tactus
