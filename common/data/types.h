// The records that travel between the learner and the actors, as plain values.
//
// The wire form is proto/trajectory.proto; common/data/codec.h converts and checks. Nothing else sees protobuf.
// All types are value types: copyable, movable, no hidden sharing, not thread-safe.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tactus {

using TokenId = int32_t;

// Names one set of weights for ever: step + 1 per optimizer step, incarnation + 1 per restore from a checkpoint.
struct PolicyVersion {
  uint32_t incarnation = 0;
  uint64_t step = 0;
  friend auto operator<=>(const PolicyVersion&, const PolicyVersion&) = default;  // NOLINT(modernize-use-nullptr)
};

// One question, immutable. The answer key is what the task's Verifier needs, as JSON (never shown to the model).
struct Prompt {
  uint64_t id = 0;  // position in the run's admission order: unique in a run, keys the sampling
  std::vector<TokenId> token_ids;
  std::string answer_key_json;
  uint32_t source = 0;  // of task.sources, by whose rules answers are judged; 0 where there are none
};

// What a held-out prompt is sampled with.
struct EvaluationSampling {
  float temperature = 1;  // 0 = greedy
  float top_p = 1;        // 1 = off
  int32_t top_k = 0;      // 0 = off
  friend bool operator==(const EvaluationSampling&, const EvaluationSampling&) = default;
};

// Permission to answer a prompt until a deadline. Lease ids are never reused in an incarnation.
struct PromptLease {
  uint64_t lease_id = 0;
  Prompt prompt;
  int completions_wanted = 0;  // G
  uint64_t seed = 0;           // the run's seed, keys the sampling draws with prompt.id
  double timeout_s = 0;        // time left at the moment of leasing
  PolicyVersion version;       // the learner's version when leased
  // Of a held-out prompt, which is answered to measure the policy: by `version` alone, without rhythm and credit.
  std::optional<EvaluationSampling> evaluation;
};

// The lease ids of held-out prompts have it, those of prompts to train on never.
inline constexpr uint64_t kEvaluationLease = uint64_t{1} << 63;
inline bool IsEvaluation(uint64_t lease_id) { return (lease_id & kEvaluationLease) != 0; }

// From this token of the completion on, tokens were sampled by `version`.
struct VersionSpan {
  int start_token = 0;
  PolicyVersion version;
  friend bool operator==(const VersionSpan&, const VersionSpan&) = default;
};

// What the model said at a stretch in a conversation: num_tokens of the completion from start_token on.
struct Turn {
  int start_token = 0;
  int num_tokens = 0;
  double reward = 0;  // its part of the completion's
  friend bool operator==(const Turn&, const Turn&) = default;
};

enum class FinishReason { kStop = 0, kLength = 1 };

// The reason of a completion whose tokens are no text: no verifier could judge it.
inline constexpr char kUndecodableReason[] = "undecodable";

struct Reward {
  double total = 0;    // what training uses: correctness + format part
  double correct = 0;  // 0 or 1
  double format = 0;   // the format part alone
  std::string reason;  // one word or short phrase for people, e.g. "wrong_value"
};

inline constexpr size_t kMaxRhythmHeads = 8192;  // sampled heads of a completion: 64 layers of 128

// Which of the H sampled heads are local and which are global, as increasing indices; none of the two is empty. Heads
// are numbered as in common/rhythm/rhythm.h.
struct HeadClasses {
  std::vector<int32_t> local;
  std::vector<int32_t> global;
  friend bool operator==(const HeadClasses&, const HeadClasses&) = default;
};

// The raw attention metrics behind a completion's credit, for audit.
struct RhythmRecord {
  std::vector<float> waad;  // [T]
  std::vector<float> fai;   // [T]
  HeadClasses heads;        // that waad and fai are means over
  friend bool operator==(const RhythmRecord&, const RhythmRecord&) = default;
};

// One sampled answer, T tokens. All per-token vectors have length T; nothing is re-tokenised. Of a conversation it is
// all that follows the prompt: the model's turns, and between them what the environment wrote, which is context as the
// prompt is: not trained on, with log-prob, entropy, credit and rhythm 0 (turns.h).
struct Completion {
  std::vector<TokenId> token_ids;      // [T], the final eos included when it was sampled
  std::vector<float> logprobs;         // [T] behaviour log-prob, nats, of the distribution sampled from
  std::vector<float> entropy;          // [T] nats, temperature 1, full vocabulary
  std::vector<float> credit;           // [T] gamma, 1.0 = neutral
  std::vector<float> head_spans;       // [H] mean backward distance of each sampled head, tokens; empty: not sent
  std::optional<RhythmRecord> rhythm;  // of the sampled share of groups, credit.audit_share; with head_spans
  std::vector<VersionSpan> versions;   // first starts at token 0; start_token increases
  std::vector<Turn> turns;             // from the first token to the last, in order; empty: all tokens are the model's
  Reward reward;
  FinishReason finish_reason = FinishReason::kStop;
};

// How long an actor was at work on a group, by its own clock, in seconds; 0: not told.
struct GroupTimes {
  double sampling_s = 0;    // from when its engine took the prompt until the last completion was sampled
  double handing_in_s = 0;  // from then until it was sent
  friend bool operator==(const GroupTimes&, const GroupTimes&) = default;
};

// The G scored completions of one prompt: complete, or rejected; never partial.
struct TrajectoryGroup {
  uint64_t lease_id = 0;
  uint64_t prompt_id = 0;
  std::vector<TokenId> prompt_token_ids;
  std::vector<Completion> completions;  // [G]
  std::string actor_id;
  GroupTimes times = {};
  double arrived_s = 0;  // on the learner's monotonic clock, whose own it is: never sent. 0: not by this process
};

}  // namespace tactus
