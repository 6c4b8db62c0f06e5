// Between the plain types of types.h and their wire form, proto/trajectory.proto.
//
// Decoding trusts nothing: it bounds every count before it allocates, compares every length, and refuses numbers that
// training cannot use. Errors are InvalidArgument, one sentence that names the field. All functions are pure and
// thread-safe.
#pragma once

#include <limits>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/data/types.h"

namespace tactus {

namespace wire {  // proto/trajectory.proto
class HeadClasses;
class PolicyVersion;
class PromptLease;
}  // namespace wire

// What a run allows, as its configuration says: what an honest actor cannot send is not taken from any. The first four
// are > 0.
struct TrajectoryLimits {
  int max_prompt_tokens = 0;
  int max_completion_tokens = 0;
  int completions_per_prompt = 0;  // a group has exactly as many; with fewer_completions at least one
  int vocab_size = 0;
  int calibrated_heads = 0;  // H, when head classes are calibrated: every completion carries H spans. 0: none has to
  // Gamma of a token, and the part of a reward that is for the form, or whatever else than being right.
  float min_credit = 0;
  float max_credit = std::numeric_limits<float>::max();
  double min_format_reward = 0;
  double max_format_reward = std::numeric_limits<double>::max();
  int max_turns = 1;  // of a conversation
  bool fewer_completions = false;
  int sources = 1;  // of prompts
};

inline constexpr size_t kMaxAnswerKeyBytes = size_t{64} << 10;
inline constexpr size_t kMaxNameBytes = 256;  // actor ids, reward reasons
// A log-probability may exceed 0 by this much: the rounding of a float32 log-softmax over a large vocabulary.
inline constexpr float kLogprobTolerance = 1e-3F;
// Below it a float32 probability is 0, and such a token is never drawn.
inline constexpr float kMinLogprob = -110;
// WAAD may fall short of 0, and FAI leave [0, 1], by this much: rounding in a sum of probabilities.
inline constexpr float kRhythmTolerance = 1e-3F;

// What holds instead for answers to held-out prompts, `samples` each: they come without rhythm and credit.
TrajectoryLimits EvaluationLimits(TrajectoryLimits limits, int samples);
inline constexpr int kMaxEvaluationSamples = 4096;

// No encoded group or lease within the limits is larger.
size_t MaxGroupBytes(const TrajectoryLimits& limits);
size_t MaxLeaseBytes(const TrajectoryLimits& limits);

// Checks everything that DecodeGroup checks, on the plain type.
absl::Status ValidateGroup(const TrajectoryGroup& group, const TrajectoryLimits& limits);
absl::Status ValidatePrompt(const Prompt& prompt, const TrajectoryLimits& limits);

// Equal groups give equal bytes.
std::string EncodeGroup(const TrajectoryGroup& group);

// Which kind of value a refusal names as NaN or infinite: "reward", "logprob", or "measure" for what else is measured
// of a token or head; "" when the refusal is for something else.
absl::string_view NonfiniteValue(const absl::Status& refusal);

// The lease that a group says it answers, before anything else of it is looked at; 0: there is none.
uint64_t LeaseIdOf(std::span<const absl::string_view> pieces);

// Refuses, besides what ValidateGroup refuses, bytes that are no TrajectoryGroup and fields that occur twice.
// Memory used is at most a small multiple of MaxGroupBytes.
absl::StatusOr<TrajectoryGroup> DecodeGroup(absl::string_view bytes, const TrajectoryLimits& limits);
// The same of bytes that lie in several places, end to end.
absl::StatusOr<TrajectoryGroup> DecodeGroup(std::span<const absl::string_view> pieces, const TrajectoryLimits& limits);

wire::HeadClasses ToWire(const HeadClasses& classes);
// Null: there are none. InvalidArgument, naming them as `where`: both lists must be increasing, within [0, num_heads)
// and not empty; with num_heads = 0 there must be none.
absl::StatusOr<std::optional<HeadClasses>> FromWire(absl::string_view where, const wire::HeadClasses* classes,
                                                    int num_heads);

wire::PolicyVersion ToWire(const PolicyVersion& version);
PolicyVersion FromWire(const wire::PolicyVersion& version);

wire::PromptLease ToWire(const PromptLease& lease);
// InvalidArgument also where lease id and sampling do not agree about what the lease is for.
absl::StatusOr<PromptLease> FromWire(const wire::PromptLease& lease, const TrajectoryLimits& limits);

// "3.120": incarnation and step, for logs and errors.
std::string VersionName(const PolicyVersion& version);

}  // namespace tactus
