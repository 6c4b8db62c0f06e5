// A decoder on one backend, driven through one set of calls with everything in host memory: what the model's suite runs
// on. TYPED_TESTs over Backends run on each; on the GPU's only where there is one, or its emulation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/model/cpu/decoder_cpu.h"
#include "common/model/cuda/decoder_cuda.h"
#include "common/model/folder/hf_folder.h"
#include "gtest/gtest.h"
#include "tests/device/need_gpu.h"
#include "tests/model/golden_models.h"
#include "tests/ops/cuda/device_array.h"

namespace tactus {

using Backends = testing::Types<ops::CpuBackend, ops::CudaBackend>;

inline nlohmann::json Golden(const std::string& name) {
  std::ifstream file(GoldenModelPath(name) + "/golden.json");
  return nlohmann::json::parse(file);
}

// A configuration and parameters for it.
struct Model {
  ModelConfig config;
  ParameterLayout layout;
  std::vector<float> parameters;
};

inline Model LoadGolden(const std::string& name) {
  const absl::StatusOr<ModelFolder> folder = OpenModelFolder(GoldenModelPath(name));
  EXPECT_TRUE(folder.ok()) << folder.status();
  Model model{folder->config, folder->layout, std::vector<float>(static_cast<size_t>(folder->layout.total_numel))};
  EXPECT_TRUE(LoadParameters(*folder, model.parameters).ok());
  return model;
}

template <typename B>
class Rig;

template <>
class Rig<ops::CpuBackend> {
 public:
  static constexpr bool kSameBits = true;  // in decode as in training, and among batch neighbours

  Rig(const Model& model, StorageDType dtype) : weights_(*DecoderWeightsCpu::Create(model.config, dtype)) {
    SetParameters(model.parameters);
  }

  void SetParameters(const std::vector<float>& parameters) {
    std::ranges::copy(parameters, weights_->flat().begin());
    weights_->Pack();
  }
  DecoderWeightsCpu& weights() { return *weights_; }
  const ModelConfig& config() const { return weights_->config(); }

  void StartCache(int64_t pages) {
    decoder_.reset();
    decoder_.emplace(config(), weights_->backend(),
                     ops::KvCacheCpu(AttentionShapeOf(config()), weights_->dtype(), config().num_layers, pages));
  }
  void Forward(const ForwardBatch& batch) { tactus::Forward(*decoder_, *weights_, batch, positions_); }
  // Logits [rows, V] of the last Forward.
  std::vector<float> Logits(const std::vector<int32_t>& rows) {
    const float* logits = decoder_->Logits(weights_->parameters(), rows.data(), static_cast<int64_t>(rows.size()));
    return {logits, logits + static_cast<int64_t>(rows.size()) * config().vocab_size};
  }

  // Adds to `gradients`. The places that `finished` named.
  std::vector<int64_t> Backward(TrainableDecoder<ops::CpuBackend>& trainable, const TargetGradient& sent,
                                std::vector<float>& gradients) {
    std::vector<int64_t> finished;
    trainable.Backward(sent, gradients.data(), [&](int64_t begin) { finished.push_back(begin); });
    return finished;
  }

 private:
  const std::unique_ptr<DecoderWeightsCpu> weights_;
  std::optional<DecoderCpu> decoder_;
  std::vector<int32_t> positions_;
};

template <>
class Rig<ops::CudaBackend> {
 public:
  static constexpr bool kSameBits = false;

  Rig(const Model& model, StorageDType dtype)
      : dtype_(dtype),
        weights_(model.config, device::DeviceEmpty(0, {model.layout.total_numel}, ops::TorchTypeOf(dtype)), 0) {
    SetParameters(model.parameters);
  }

  void SetParameters(const std::vector<float>& parameters) {
    const at::Tensor from = device::PinnedEmpty({static_cast<int64_t>(parameters.size())}, at::kFloat);
    std::ranges::copy(parameters, from.data_ptr<float>());
    weights_.flat().copy_(from);
    weights_.NormsChanged();
    device::Synchronize();
  }
  DecoderWeightsCuda& weights() { return weights_; }
  const ModelConfig& config() const { return weights_.config(); }

  void StartCache(int64_t pages) {
    decoder_.reset();
    decoder_.emplace(config(), weights_.backend(),
                     ops::KvCacheCuda(AttentionShapeOf(config()), dtype_, config().num_layers, pages, 0));
  }

  // Every row as a decode row; actor/engine/cuda is what tells runs from them.
  void Forward(const ForwardBatch& batch) {
    size_t table_pages = 1;
    for (const SequenceRun& run : batch.runs) table_pages = std::max(table_pages, run.page_table.size());
    std::vector<int32_t> positions, slots, contexts, index, tables;
    for (const SequenceRun& run : batch.runs) {
      for (int64_t r = 0; r < run.num_rows; ++r) {
        const int64_t position = run.start_position + r;
        index.push_back(static_cast<int32_t>(positions.size()));
        positions.push_back(static_cast<int32_t>(position));
        contexts.push_back(static_cast<int32_t>(position + 1));
        slots.push_back(run.page_table[static_cast<size_t>(position / kPageTokens)] * kPageTokens +
                        static_cast<int32_t>(position % kPageTokens));
        tables.insert(tables.end(), run.page_table.begin(), run.page_table.end());
        tables.resize(positions.size() * table_pages);
      }
    }
    arrays_.clear();
    const auto put = [&](const std::vector<int32_t>& values) { return arrays_.emplace_back(values).get(); };
    const int64_t rows = static_cast<int64_t>(positions.size());
    arrays_.reserve(6);
    decoder_->Forward(weights_.parameters(),
                      {.num_rows = rows,
                       .decode_rows = rows,
                       .token_ids = put(batch.token_ids),
                       .rotary = {.positions = put(positions)},
                       .slots = put(slots),
                       .contexts = put(contexts),
                       .table_index = put(index),
                       .page_tables = put(tables),
                       .table_pages = static_cast<int64_t>(table_pages)},
                      config().max_position);
  }
  std::vector<float> Logits(const std::vector<int32_t>& rows) {
    const ops::cuda::DeviceArray<int32_t> chosen(rows);
    const float* logits = decoder_->Logits(weights_.parameters(), chosen.get(), static_cast<int64_t>(rows.size()));
    std::vector<float> out(rows.size() * static_cast<size_t>(config().vocab_size));
    device::CopyAsync(out.data(), logits, out.size() * sizeof(float));
    device::Synchronize();
    return out;
  }

  std::vector<int64_t> Backward(TrainableDecoder<ops::CudaBackend>& trainable, const TargetGradient& sent,
                                std::vector<float>& gradients) {
    std::vector<int64_t> finished;
    ops::cuda::DeviceArray<float> device(gradients);
    trainable.Backward(sent, device.get(), [&](int64_t begin) { finished.push_back(begin); });
    gradients = device.Read();
    return finished;
  }

 private:
  const StorageDType dtype_;
  DecoderWeightsCuda weights_;
  std::optional<DecoderCuda> decoder_;
  std::vector<ops::cuda::DeviceArray<int32_t>> arrays_;
};

template <typename B>
class BackendTest : public testing::Test {
 protected:
  void SetUp() override {
    if constexpr (std::is_same_v<B, ops::CudaBackend>) NEED_GPU();
  }
};

// One sequence's pages, in no natural order.
inline std::vector<int32_t> Pages(int64_t tokens, int32_t first) {
  std::vector<int32_t> pages(static_cast<size_t>((tokens + kPageTokens - 1) / kPageTokens));
  std::iota(pages.rbegin(), pages.rend(), first);
  return pages;
}

}  // namespace tactus
