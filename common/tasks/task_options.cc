#include "common/tasks/task_options.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("task.", field, ": ", value, " is out of range, expected ", low, " to ", high));
}

absl::StatusOr<GeneratedSizes> ReadGeneratedSizes(const config::TaskOptions& options) {
  GeneratedSizes sizes;
  if (options.has_train_size()) sizes.train = options.train_size();
  if (options.has_test_size()) sizes.test = options.test_size();
  RETURN_IF_ERROR(CheckRange("train_size", sizes.train, 1, 1'000'000));
  RETURN_IF_ERROR(CheckRange("test_size", sizes.test, 0, 1'000'000));
  return sizes;
}

absl::StatusOr<double> ReadFormatReward(const config::TaskOptions& options) {
  const double reward = options.has_format_reward() ? options.format_reward() : 0.05;
  if (reward >= 0 && reward <= 1) return reward;  // false for NaN
  return absl::InvalidArgumentError(absl::StrCat("task.format_reward: ", reward, " is out of range, expected 0 to 1"));
}

absl::StatusOr<PromptStyle> ReadPromptStyle(const config::TaskOptions& options) {
  if (options.prompt_style().empty() || options.prompt_style() == "chat") return PromptStyle::kChat;
  if (options.prompt_style() == "compact") return PromptStyle::kCompact;
  return absl::InvalidArgumentError(
      absl::StrCat("task.prompt_style: \"", options.prompt_style(), "\" is unknown, expected \"chat\" or \"compact\""));
}

uint64_t DataSeed(const config::TaskOptions& options) { return options.has_data_seed() ? options.data_seed() : 7; }

}  // namespace tactus
