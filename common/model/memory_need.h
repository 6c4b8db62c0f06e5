// How much memory a learner rank or an actor needs, from the model's shape and the configuration alone: before anything
// is loaded. Pure; thread-safe.
//
// The terms are those of the code: parameters and what is kept for each, the buffers of a micro-batch, pages, one
// step's rows. On the CPU activations are float32; on a GPU they are of the weights' type, beside a float32 residual
// stream. There it is the GPU's memory alone: what a process keeps on the host beside it, weights on their way and
// checkpoints, is a need of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/config/config_fwd.h"
#include "common/device/device_spec.h"
#include "common/model/folder/model_config.h"
#include "common/model/shard.h"
#include "common/ops/attention_types.h"

namespace tactus {

struct MemoryItem {
  const char* name;  // "activations"
  int64_t bytes = 0;
  const char* fields = "";  // of the configuration that change it; "" = only the model does
};

// What one process needs, largest use of each part; items of 0 bytes are left out.
struct MemoryNeed {
  std::string process;  // "learner-0"
  std::vector<MemoryItem> items;

  int64_t total() const;
};

// Allowances, not measurements: what a process takes before it computes anything, and what the driver takes for a
// kernel of a recorded graph.
inline constexpr int64_t kGpuContextBytes = int64_t{1} << 30;     // context, modules, cuBLAS and NCCL workspaces
inline constexpr int64_t kHostProcessBytes = int64_t{256} << 20;  // program and libraries, as far as they are resident
inline constexpr int64_t kGpuHostBytes = int64_t{2} << 30;  // the same with CUDA's libraries and the driver's part
inline constexpr int64_t kGraphNodeBytes = int64_t{2} << 10;

// Rows of a learner's largest micro-batch: as many as may be packed, or all of an optimizer step if that is fewer. A
// group has its prompt once.
int64_t MicroBatchRows(const config::RunConfig& run);

// `sharding`: of the rank; the largest share is taken.
MemoryNeed LearnerMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run,
                         const Device& device, const Sharding& sharding = {});

// learner.shard for `world` ranks like this one: as the configuration says, or with AUTO the least that fits
// `available_bytes`, the most that the device can do where none does. One rank has nothing to share.
Shard ChooseShard(const ModelConfig& model, const config::RunConfig& run, const Device& device, int world,
                  int64_t available_bytes);
// `probe`: what credit.strategy measures; without layers nothing.
MemoryNeed ActorMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run,
                       const Device& device, const ops::AttentionProbe& probe);

// What a process on a GPU takes of the host's memory at its most.
MemoryNeed LearnerHostMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run,
                             const Sharding& sharding = {});
MemoryNeed ActorHostMemory(const std::string& process, const ModelConfig& model, const config::RunConfig& run);

// What a learner rank 0 on a GPU takes beyond its need where it shares its published weights with the actors of its
// machine: two sets. They travel otherwise too, so it does so only where they fit beside everything else.
int64_t SharedWeightsBytes(const ModelConfig& model, const config::RunConfig& run);

// What a process may use of `free_bytes`: gpu_memory_mib of it where that is not 0.
int64_t BudgetBytes(int32_t gpu_memory_mib, int64_t free_bytes);

// FailedPrecondition when the processes that share `device` need more than `available_bytes` together: one sentence
// with the figures, the largest parts and the fields that change them.
absl::Status CheckMemory(const std::vector<MemoryNeed>& needs, const std::string& device, int64_t available_bytes);

// What one of `world` learner ranks may use of its device: of the host's memory its part, as all may be on one machine.
int64_t RankBudgetBytes(const config::RunConfig& run, const Device& device, int world, const GpuList& gpus);

// What is free on `device` now: of a GPU in `gpus` (its total where the driver does not say), or of the host's memory,
// as far as this process's control groups let it take it.
int64_t AvailableBytes(const Device& device, const GpuList& gpus);

// What a process does before it loads anything: CheckMemory of its own need within its budget, on a GPU, and of `host`
// within the host's memory, as far as its control groups let it take that. A process on the CPU shares its memory with
// everything else and is not checked. Unavailable where it will fit once others have left the GPU.
absl::Status CheckOwnMemory(const MemoryNeed& need, const MemoryNeed& host, const Device& device,
                            int32_t gpu_memory_mib, const GpuList& gpus);

}  // namespace tactus
