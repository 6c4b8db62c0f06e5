// A completion kept for people to read: one line of samples.jsonl. Value type; the functions are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

// From this token of the completion on, the weights `version` sampled and read.
struct SampleSpan {
  int start_token = 0;
  std::string version;  // "incarnation.step"
  friend bool operator==(const SampleSpan&, const SampleSpan&) = default;
};

// With the ids and the weights of `versions` at hand, every number here can be computed again.
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

  std::string source = "";  // of task.sources; empty: the run has none

  // Lists below are empty in files that older builds wrote.
  std::vector<int32_t> prompt_ids = {};
  std::vector<int32_t> token_ids = {};    // [T]
  std::vector<SampleSpan> versions = {};  // the first starts at token 0
  std::vector<double> entropy = {};       // [T] nats, of the distribution each token was drawn from
  std::vector<int32_t> sampled = {};      // [N] of a conversation the tokens that the model said; empty: all
  // The raw attention metrics (docs/rhythm.md), of audited groups; otherwise empty. Heads are numbered
  // slot * query heads + head in the order of the sampled layers.
  std::vector<double> waad = {};           // [T]
  std::vector<double> fai = {};            // [T]
  std::vector<int32_t> layers = {};        // the sampled layers' numbers; H is a multiple of their count
  std::vector<double> span = {};           // [H] mean backward distance of each sampled head, tokens
  std::vector<int32_t> local_heads = {};   // increasing indices into span
  std::vector<int32_t> global_heads = {};  // increasing indices into span
};

// One line without the newline.
std::string SampleRecordToJson(const SampleRecord& record);

// InvalidArgument names the key: wrong type, a list per token of another length than tokens, a head that is not in
// span, layers that span cannot be divided among, or a line over 16 MiB.
absl::StatusOr<SampleRecord> SampleRecordFromJson(absl::string_view line);

}  // namespace tactus
