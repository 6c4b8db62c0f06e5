// TaskOptions with the defaults of config.proto applied, for callers that build options without the resolver; and the
// range checks the tasks share. InvalidArgument: "task.<field>: ...". Thread-safe.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/config.pb.h"

namespace tactus {

struct GeneratedSizes {
  int train = 20000;
  int test = 512;
};

enum class PromptStyle { kChat, kCompact };

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t low, int64_t high);

absl::StatusOr<GeneratedSizes> ReadGeneratedSizes(const config::TaskOptions& options);  // up to 1,000,000
absl::StatusOr<double> ReadFormatReward(const config::TaskOptions& options);            // in [0, 1]
absl::StatusOr<PromptStyle> ReadPromptStyle(const config::TaskOptions& options);
uint64_t DataSeed(const config::TaskOptions& options);

}  // namespace tactus
