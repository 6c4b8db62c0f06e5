// A task's options, checked and in the types of the tasks. A plain value.
#pragma once

#include <cstdint>
#include <string>

#include "common/tasks/countdown.h"

namespace tactus {

enum class PromptStyle { kChat, kCompact };

struct TaskSettings {
  PromptStyle style = PromptStyle::kChat;
  uint64_t data_seed = 0;
  int train_size = 0, test_size = 0;  // of generated sets
  CountdownShape shape;               // countdown
  std::string train_path, test_path;  // of sets that are read
  bool test_only = false;             // no train split is needed
  bool leave_out = false;             // train rows that are held out are left out, not refused
  bool opaque_keys = false;           // qa: answers are judged elsewhere, by all that stands beside the question
  // Where a row holds what, as FieldAt takes it.
  std::string question_field = "question", answer_field = "answer";  // qa
  std::string numbers_field = "nums", target_field = "target";       // countdown
};

}  // namespace tactus
