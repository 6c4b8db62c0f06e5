// Says when a run learns nothing because the answers to each question earn the same, and what that looks like. Pure;
// not thread-safe.
#pragma once

#include <optional>
#include <string>

#include "common/metrics/step_record.h"

namespace tactus {

class SignalWatch {
 public:
  // Steps in a row without any signal that are no accident; told again after twice as many, and so on.
  static constexpr int kSteps = 5;

  explicit SignalWatch(int max_completion_tokens) : max_completion_tokens_(max_completion_tokens) {}

  // Takes each step in turn; a sentence when it is time to tell.
  std::optional<std::string> Add(const StepRecord& record);

 private:
  const int max_completion_tokens_;
  int without_ = 0;  // steps in a row
  int tell_at_ = kSteps;
};

}  // namespace tactus
