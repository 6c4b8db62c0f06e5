// A completion kept for people to read: one line of samples.jsonl. Value type; the functions are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

struct SampleRecord {
  int64_t step = 0;
  std::string version;  // "incarnation.step" of the weights that sampled the first token
  uint64_t prompt_id = 0;
  int completion = 0;               // index in its group
  std::string prompt;               // decoded
  std::string text;                 // decoded completion
  std::vector<std::string> tokens;  // [T] each token's text; invalid UTF-8 is shown as U+FFFD
  std::vector<double> gamma;        // [T] credit weights, 1 = neutral
  std::vector<double> logprobs;     // [T] nats
  double reward = 0;
  bool correct = false;
  std::string reason;
};

// One line without the newline.
std::string SampleRecordToJson(const SampleRecord& record);

// InvalidArgument names the key: wrong type, or tokens, gamma and logprobs of different lengths. ResourceExhausted: a
// line over 16 MiB.
absl::StatusOr<SampleRecord> SampleRecordFromJson(absl::string_view line);

}  // namespace tactus
