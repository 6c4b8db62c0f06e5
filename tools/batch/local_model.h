// The flags of every command that runs a model on this machine, and what they open. Blocking reads; not thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/engine.h"
#include "common/config/flags.h"
#include "common/model/folder/hf_folder.h"
#include "common/rhythm/credit_assigner.h"

namespace tactus {

inline constexpr FlagSpec kModelFlag = {
    .name = "model", .value = "DIR", .help = "a Hugging Face model folder", .required = true};
inline constexpr FlagSpec kDtypeFlag = {
    .name = "dtype", .value = "TYPE", .help = "float32, bfloat16, or auto: what config.json says", .fallback = "auto"};
inline constexpr FlagSpec kThreadsFlag = {.name = "threads",
                                          .type = FlagType::kInt,
                                          .value = "N",
                                          .help = "CPU threads; 0 = all cores",
                                          .fallback = "0",
                                          .min = 0,
                                          .max = 4096};
inline constexpr FlagSpec kKvCacheFlag = {.name = "kv-cache-mib",
                                          .type = FlagType::kInt,
                                          .value = "N",
                                          .help = "memory of the key/value cache",
                                          .fallback = "1024",
                                          .min = 1,
                                          .max = 16e6};
inline constexpr FlagSpec kBatchFlag = {.name = "batch",
                                        .type = FlagType::kInt,
                                        .value = "B",
                                        .help = "sequences computed at once",
                                        .fallback = "32",
                                        .min = 1,
                                        .max = 65536};
inline constexpr FlagSpec kSamplesFlag = {.name = "samples",
                                          .type = FlagType::kInt,
                                          .value = "K",
                                          .help = "answers per prompt",
                                          .fallback = "1",
                                          .min = 1,
                                          .max = 4096};
inline constexpr FlagSpec kSeedFlag = {.name = "seed",
                                       .type = FlagType::kInt,
                                       .value = "S",
                                       .help = "keys the draws",
                                       .fallback = "1",
                                       .min = 0,
                                       .max = 9e15};

struct LocalModel {
  ModelFolder folder;
  StorageDType dtype = StorageDType::kFloat32;
};

// Opens --model with --dtype and applies --threads to the process. InvalidArgument or NotFound names file and field.
absl::StatusOr<LocalModel> OpenLocalModel(const Flags& flags);

// The engine of --kv-cache-mib for `batch` sequences of at most max_sequence_tokens (0 = the model's longest). probe:
// what of the attention it can measure.
absl::StatusOr<std::unique_ptr<Engine>> OpenLocalEngine(const Flags& flags, const LocalModel& model, int batch,
                                                        int64_t max_sequence_tokens, ops::AttentionProbe probe = {});

// The credit of a configuration that says nothing else about it; `overrides` as of --set. InvalidArgument names one
// that cannot be.
absl::StatusOr<CreditAssigner> DefaultCredit(const std::vector<std::string>& overrides);

}  // namespace tactus
