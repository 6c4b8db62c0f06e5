// Between our plain types and the messages of proto/environment_service.proto. What a server sends is checked field by
// field, as whatever it forgets must never become a reward: an error is InvalidArgument, one sentence that names the
// field. Pure; thread-safe.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/tasks/judge.h"
#include "common/tasks/task.h"
#include "common/tokenizer/chat/chat_template.h"

namespace tactus {

namespace environment::v1 {  // proto/environment_service.proto
class ConverseReply;
class ConverseRequest;
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
  int max_calls = 0;           // at once; 0 = any number
  bool conversations = false;  // Converse is to be called, not Score
};

struct NamedExample {
  std::string id;
  TaskExample example;
};

inline constexpr int kMaxReplyMessages = 64;

// One answer to a prompt, held as a conversation.
struct EpisodeOpening {
  Question question;
  uint64_t run_seed = 0;
  uint64_t prompt_number = 0;
  int completion = 0;
  int max_turns = 0;
  int max_tokens = 0;
  int max_turn_tokens = 0;
  absl::Duration reply_timeout;
};

enum class EpisodeLimit { kNone, kTurns, kTokens };

struct EpisodeTurn {
  int number = 0;  // from 1
  Answer answer;
  EpisodeLimit last = EpisodeLimit::kNone;
  int tokens_left = 0;
};

// What the environment answers to a turn: messages or text, or that it is done.
struct EpisodeReply {
  std::vector<ChatMessage> messages = {};
  std::string text = {};
  bool done = false;
  double reward = 0;        // of the turn
  bool correct = false;     // with done, of the episode
  std::string reason = {};  // likewise
};

environment::v1::ConverseRequest ToWire(const EpisodeOpening& opening);
environment::v1::ConverseRequest ToWire(const EpisodeTurn& turn);
environment::v1::ConverseRequest ToWire(EpisodeLimit stop);
// must_end: the reply has to have done.
absl::StatusOr<EpisodeReply> FromWire(const environment::v1::ConverseReply& reply, bool must_end);

environment::v1::ScoreRequest ToWire(const Question& question, std::span<const Answer> answers);

absl::StatusOr<EnvironmentFacts> FromWire(const environment::v1::Description& description);
absl::StatusOr<NamedExample> FromWire(const environment::v1::EnvironmentPrompt& prompt);
// total = the sum of the parts; correct = 1 for PASS, 0 for FAIL; format = the rest, which may be negative.
absl::StatusOr<std::vector<Reward>> FromWire(const environment::v1::ScoreReply& reply, size_t answers);

}  // namespace tactus
