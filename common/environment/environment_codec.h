// Between our plain types and the messages of proto/environment_service.proto. What a server sends is checked field by
// field, as whatever it forgets must never become a reward: an error is InvalidArgument, one sentence that names the
// field. Pure; thread-safe.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/tasks/judge.h"
#include "common/tasks/task.h"

namespace tactus {

namespace environment::v1 {  // proto/environment_service.proto
class Description;
class EnvironmentPrompt;
class ScoreReply;
class ScoreRequest;
}  // namespace environment::v1

inline constexpr double kMaxEnvironmentReward = 1e6;  // either way
inline constexpr int kMaxRewardParts = 16;
inline constexpr size_t kMaxPartNameBytes = 64;

// What a server says of itself.
struct EnvironmentFacts {
  std::string name;
  bool has_prompts = false;
  int max_calls = 0;  // of Score at once; 0 = any number
};

struct NamedExample {
  std::string id;
  TaskExample example;
};

environment::v1::ScoreRequest ToWire(const Question& question, std::span<const Answer> answers);

absl::StatusOr<EnvironmentFacts> FromWire(const environment::v1::Description& description);
absl::StatusOr<NamedExample> FromWire(const environment::v1::EnvironmentPrompt& prompt);
// total = the sum of the parts; correct = 1 for PASS, 0 for FAIL; format = the rest, which may be negative.
absl::StatusOr<std::vector<Reward>> FromWire(const environment::v1::ScoreReply& reply, size_t answers);

}  // namespace tactus
