#include "common/data/codec.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/turns.h"
#include "proto/trajectory.pb.h"

namespace tactus {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr size_t kBytesPerId = 5;  // varint of a non-negative int32
// Id, three floats, a version span on every token, two floats of the rhythm.
constexpr size_t kBytesPerToken = 5 + 3 * 4 + 5 + 5 + 10 + 2 * 4;
constexpr size_t kBytesPerTurn = 5 + 5 + 8;
constexpr size_t kBytesPerHead = 4 + 2 + 2;  // a float, and a varint below kMaxRhythmHeads in both classes
static_assert(kMaxRhythmHeads <= 1 << 14);
constexpr size_t kBytesPerMessage = 2 * kMaxNameBytes;  // tags, lengths, scalars and the one name
constexpr double kRewardTolerance = 1e-9;
constexpr double kMaxGroupS = 1e7;  // that an actor may have been at work on a group

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckIds(absl::string_view field, std::span<const TokenId> ids, int max_tokens, int vocab_size) {
  if (ids.empty() || ids.size() > static_cast<size_t>(max_tokens)) {
    return Invalid(field, " has ", ids.size(), " tokens; expected 1 to ", max_tokens);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return Invalid(field, "[", i, "] is ", ids[i], "; expected a token id in [0, ", vocab_size, ")");
    }
  }
  return absl::OkStatus();
}

constexpr char kNonfiniteUrl[] = "tactus/nonfinite";
constexpr absl::string_view kNonfiniteKinds[] = {"reward", "logprob", "measure"};

absl::Status Nonfinite(absl::Status refusal, absl::string_view kind) {
  refusal.SetPayload(kNonfiniteUrl, absl::Cord(kind));
  return refusal;
}

// Each finite and in [low, high]; values[0] is told as field[first].
absl::Status CheckRange(absl::string_view field, std::span<const float> values, float low, float high,
                        size_t first = 0) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] >= low && values[i] <= high) continue;
    absl::Status refusal =
        Invalid(field, "[", first + i, "] is ", values[i], "; expected a finite number in [", low, ", ", high, "]");
    if (std::isfinite(values[i])) return refusal;
    return Nonfinite(std::move(refusal), absl::EndsWith(field, ".logprobs") ? "logprob" : "measure");
  }
  return absl::OkStatus();
}

absl::Status CheckCount(absl::string_view field, std::span<const float> values, size_t tokens) {
  if (values.size() == tokens) return absl::OkStatus();
  return Invalid(field, " has ", values.size(), " values; expected one for each of ", tokens, " tokens");
}

// A value per token: the model's each finite and in [low, high]; the environment's have 0.
absl::Status CheckSampled(absl::string_view field, std::span<const float> values, const Completion& completion,
                          float low, float high) {
  RETURN_IF_ERROR(CheckCount(field, values, completion.token_ids.size()));
  size_t done = 0;
  for (const Turn& turn : TurnsOf(completion)) {
    const size_t start = turn.start_token, tokens = turn.num_tokens;
    RETURN_IF_ERROR(CheckRange(field, values.subspan(done, start - done), 0, 0, done));
    RETURN_IF_ERROR(CheckRange(field, values.subspan(start, tokens), low, high, start));
    done = start + tokens;
  }
  return absl::OkStatus();
}

// From the first token to the last, with something of the environment's between two, and rewards that add up.
absl::Status CheckTurns(absl::string_view where, const Completion& completion, int max_turns) {
  const std::vector<Turn>& turns = completion.turns;
  if (turns.empty()) return absl::OkStatus();
  if (turns.size() > static_cast<size_t>(max_turns)) {
    return Invalid(where, ".turns has ", turns.size(), " turns; expected at most ", max_turns);
  }
  int64_t end = 0;  // of the turn before
  double rewards = 0;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (i == 0 ? turns[i].start_token != 0 : turns[i].start_token <= end) {
      return Invalid(where, ".turns[", i, "] starts at token ", turns[i].start_token,
                     "; expected 0 of the first, and of others a token behind the end of the turn before");
    }
    if (turns[i].num_tokens < 1) return Invalid(where, ".turns[", i, "] has no token; expected at least 1");
    if (!std::isfinite(turns[i].reward)) {
      return Nonfinite(Invalid(where, ".turns[", i, "].reward must be a finite number"), "reward");
    }
    end = int64_t{turns[i].start_token} + turns[i].num_tokens;
    rewards += turns[i].reward;
  }
  if (end != static_cast<int64_t>(completion.token_ids.size())) {
    return Invalid(where, ".turns end at token ", end, " of ", completion.token_ids.size(),
                   "; expected the last turn to end the completion");
  }
  if (std::fabs(rewards - completion.reward.total) > kRewardTolerance * std::max(1.0, std::fabs(rewards))) {
    return Invalid(where, ".reward.total is ", completion.reward.total, "; expected the sum over the turns, ", rewards);
  }
  return absl::OkStatus();
}

absl::Status CheckSpans(absl::string_view where, std::span<const VersionSpan> spans, size_t tokens) {
  if (spans.empty() || spans[0].start_token != 0) return Invalid(where, ".versions must start with a span at token 0");
  for (size_t i = 1; i < spans.size(); ++i) {
    if (spans[i].start_token <= spans[i - 1].start_token || spans[i].version <= spans[i - 1].version) {
      return Invalid(where, ".versions[", i, "] must start later and be newer than the span before it");
    }
  }
  if (static_cast<size_t>(spans.back().start_token) >= tokens) {
    return Invalid(where, ".versions starts a span at token ", spans.back().start_token, " of ", tokens);
  }
  return absl::OkStatus();
}

// A verifier's: right or wrong, and a part for the form.
absl::Status CheckReward(absl::string_view where, const Reward& reward, double min_format, double max_format) {
  if (!std::isfinite(reward.total) || !std::isfinite(reward.correct) || !std::isfinite(reward.format)) {
    return Nonfinite(Invalid(where, ".reward must be finite numbers"), "reward");
  }
  if (reward.correct != 0 && reward.correct != 1) {
    return Invalid(where, ".reward.correct is ", reward.correct, "; expected 0 or 1");
  }
  if (reward.format < min_format || reward.format > max_format) {
    return Invalid(where, ".reward.format is ", reward.format, "; expected a number in [", min_format, ", ", max_format,
                   "]");
  }
  if (std::fabs(reward.total - reward.correct - reward.format) > kRewardTolerance) {
    return Invalid(where, ".reward.total is ", reward.total, "; expected the sum of correct and format, ",
                   reward.correct + reward.format);
  }
  if (reward.reason.size() > kMaxNameBytes) {
    return Invalid(where, ".reward.reason has ", reward.reason.size(), " bytes; at most ", kMaxNameBytes, " allowed");
  }
  return absl::OkStatus();
}

absl::Status CheckHeads(absl::string_view field, std::span<const int32_t> heads, size_t num_heads) {
  if (heads.empty() || heads.size() > num_heads) {
    return Invalid(field, " has ", heads.size(), " heads; expected 1 to ", num_heads);
  }
  for (size_t i = 0; i < heads.size(); ++i) {
    if (heads[i] < 0 || static_cast<size_t>(heads[i]) >= num_heads || (i > 0 && heads[i] <= heads[i - 1])) {
      return Invalid(field, "[", i, "] is ", heads[i], "; expected increasing indices in [0, ", num_heads, ")");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckClasses(absl::string_view where, const HeadClasses& classes, size_t num_heads) {
  RETURN_IF_ERROR(CheckHeads(absl::StrCat(where, ".local"), classes.local, num_heads));
  return CheckHeads(absl::StrCat(where, ".global"), classes.global, num_heads);
}

absl::Status CheckRhythm(absl::string_view where, const RhythmRecord& rhythm, const Completion& completion,
                         size_t num_heads, float farthest) {
  RETURN_IF_ERROR(CheckSampled(absl::StrCat(where, ".waad"), rhythm.waad, completion, -kRhythmTolerance, farthest));
  RETURN_IF_ERROR(
      CheckSampled(absl::StrCat(where, ".fai"), rhythm.fai, completion, -kRhythmTolerance, 1 + kRhythmTolerance));
  return CheckClasses(absl::StrCat(where, ".heads"), rhythm.heads, num_heads);
}

absl::Status CheckAttention(absl::string_view where, const Completion& completion, const TrajectoryLimits& limits) {
  const float farthest =
      static_cast<float>(limits.max_prompt_tokens) + static_cast<float>(limits.max_completion_tokens);
  const size_t heads = completion.head_spans.size();
  const bool exact = limits.calibrated_heads > 0;
  const size_t least = exact ? limits.calibrated_heads : completion.rhythm.has_value() ? 1 : 0;
  const size_t most = exact ? limits.calibrated_heads : kMaxRhythmHeads;
  if (heads < least || heads > most) {
    return Invalid(where, ".head_spans has ", heads, " heads; expected ", least,
                   exact ? "" : absl::StrCat(" to ", most));
  }
  RETURN_IF_ERROR(CheckRange(absl::StrCat(where, ".head_spans"), completion.head_spans, 0.0F, farthest));
  if (!completion.rhythm.has_value()) return absl::OkStatus();
  return CheckRhythm(absl::StrCat(where, ".rhythm"), *completion.rhythm, completion, heads, farthest);
}

absl::Status CheckCompletion(absl::string_view where, const Completion& completion, const TrajectoryLimits& limits) {
  const size_t tokens = completion.token_ids.size();
  const float max_entropy = std::log(static_cast<float>(limits.vocab_size)) * 1.001F + kLogprobTolerance;
  RETURN_IF_ERROR(CheckIds(absl::StrCat(where, ".token_ids"), completion.token_ids, limits.max_completion_tokens,
                           limits.vocab_size));
  RETURN_IF_ERROR(CheckTurns(where, completion, limits.max_turns));
  RETURN_IF_ERROR(
      CheckSampled(absl::StrCat(where, ".logprobs"), completion.logprobs, completion, kMinLogprob, kLogprobTolerance));
  RETURN_IF_ERROR(
      CheckSampled(absl::StrCat(where, ".entropy"), completion.entropy, completion, -kLogprobTolerance, max_entropy));
  RETURN_IF_ERROR(CheckSampled(absl::StrCat(where, ".credit"), completion.credit, completion, limits.min_credit,
                               limits.max_credit));
  RETURN_IF_ERROR(CheckAttention(where, completion, limits));
  RETURN_IF_ERROR(CheckSpans(where, completion.versions, tokens));
  return CheckReward(where, completion.reward, limits.min_format_reward, limits.max_format_reward);
}

absl::Status CheckSeconds(absl::string_view field, double seconds) {
  if (seconds >= 0 && seconds <= kMaxGroupS) return absl::OkStatus();
  absl::Status refusal = Invalid(field, " is ", seconds, "; expected seconds in [0, ", kMaxGroupS, "]");
  return std::isfinite(seconds) ? refusal : Nonfinite(std::move(refusal), "measure");
}

// Bytes in several places as the one stream that protobuf reads.
class PieceStream {
 public:
  explicit PieceStream(std::span<const absl::string_view> pieces) {
    for (const absl::string_view piece : pieces) {
      streams_.push_back(
          std::make_unique<google::protobuf::io::ArrayInputStream>(piece.data(), static_cast<int>(piece.size())));
      pointers_.push_back(streams_.back().get());
    }
    all_.emplace(pointers_.data(), static_cast<int>(pointers_.size()));
  }
  google::protobuf::io::ZeroCopyInputStream* get() { return &*all_; }

 private:
  std::vector<std::unique_ptr<google::protobuf::io::ZeroCopyInputStream>> streams_;
  std::vector<google::protobuf::io::ZeroCopyInputStream*> pointers_;
  std::optional<google::protobuf::io::ConcatenatingInputStream> all_;
};

// Counts the completions before anything is allocated for them: an empty one costs 2 bytes here and 200 in memory.
bool HasMoreCompletionsThan(std::span<const absl::string_view> pieces, int limit) {
  PieceStream stream(pieces);
  CodedInputStream in(stream.get());
  int count = 0;
  while (const uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) == wire::TrajectoryGroup::kCompletionsFieldNumber) ++count;
    if (count > limit) return true;
    if (!WireFormatLite::SkipField(&in, tag)) return false;  // malformed: the real parser reports it
  }
  return false;
}

template <typename To, typename From>
std::vector<To> ToVector(const From& field) {
  return std::vector<To>(field.begin(), field.end());
}

HeadClasses ClassesOf(const wire::HeadClasses& classes) {
  return {.local = ToVector<int32_t>(classes.local()), .global = ToVector<int32_t>(classes.global())};
}

absl::StatusOr<Completion> FromWire(absl::string_view where, const wire::Completion& in) {
  const int spans = in.span_start_tokens_size();
  if (in.span_incarnations_size() != spans || in.span_steps_size() != spans) {
    return Invalid(where, ".span_start_tokens, span_incarnations and span_steps must have equal lengths");
  }
  const int turns = in.turn_start_tokens_size();
  if (in.turn_tokens_size() != turns || in.turn_rewards_size() != turns) {
    return Invalid(where, ".turn_start_tokens, turn_tokens and turn_rewards must have equal lengths");
  }
  if (in.finish_reason() != wire::FINISH_STOP && in.finish_reason() != wire::FINISH_LENGTH) {
    return Invalid(where, ".finish_reason is ", static_cast<int>(in.finish_reason()),
                   "; expected FINISH_STOP or FINISH_LENGTH");
  }
  Completion out;
  out.token_ids = ToVector<TokenId>(in.token_ids());
  out.logprobs = ToVector<float>(in.logprobs());
  out.entropy = ToVector<float>(in.entropy());
  out.credit = ToVector<float>(in.credit());
  if (in.has_rhythm()) {
    const wire::Rhythm& rhythm = in.rhythm();
    out.rhythm = {.waad = ToVector<float>(rhythm.waad()),
                  .fai = ToVector<float>(rhythm.fai()),
                  .heads = ClassesOf(rhythm.heads())};
  }
  out.head_spans = ToVector<float>(in.head_spans());
  out.versions.reserve(static_cast<size_t>(spans));
  for (int i = 0; i < spans; ++i) {
    out.versions.push_back({in.span_start_tokens(i), {in.span_incarnations(i), in.span_steps(i)}});
  }
  out.turns.reserve(static_cast<size_t>(turns));
  for (int i = 0; i < turns; ++i) {
    out.turns.push_back({in.turn_start_tokens(i), in.turn_tokens(i), in.turn_rewards(i)});
  }
  out.reward = {in.reward_total(), in.reward_correct(), in.reward_format(), in.reward_reason()};
  out.finish_reason = in.finish_reason() == wire::FINISH_STOP ? FinishReason::kStop : FinishReason::kLength;
  return out;
}

void ToWire(const Completion& in, wire::Completion* out) {
  out->mutable_token_ids()->Add(in.token_ids.begin(), in.token_ids.end());
  out->mutable_logprobs()->Add(in.logprobs.begin(), in.logprobs.end());
  out->mutable_entropy()->Add(in.entropy.begin(), in.entropy.end());
  out->mutable_credit()->Add(in.credit.begin(), in.credit.end());
  if (in.rhythm.has_value()) {
    wire::Rhythm& rhythm = *out->mutable_rhythm();
    rhythm.mutable_waad()->Add(in.rhythm->waad.begin(), in.rhythm->waad.end());
    rhythm.mutable_fai()->Add(in.rhythm->fai.begin(), in.rhythm->fai.end());
    *rhythm.mutable_heads() = ToWire(in.rhythm->heads);
  }
  out->mutable_head_spans()->Add(in.head_spans.begin(), in.head_spans.end());
  for (const VersionSpan& span : in.versions) {
    out->add_span_start_tokens(span.start_token);
    out->add_span_incarnations(span.version.incarnation);
    out->add_span_steps(span.version.step);
  }
  for (const Turn& turn : in.turns) {
    out->add_turn_start_tokens(turn.start_token);
    out->add_turn_tokens(turn.num_tokens);
    out->add_turn_rewards(turn.reward);
  }
  out->set_reward_total(in.reward.total);
  out->set_reward_correct(in.reward.correct);
  out->set_reward_format(in.reward.format);
  out->set_reward_reason(in.reward.reason);
  out->set_finish_reason(in.finish_reason == FinishReason::kStop ? wire::FINISH_STOP : wire::FINISH_LENGTH);
}

}  // namespace

TrajectoryLimits EvaluationLimits(TrajectoryLimits limits, int samples) {
  limits.completions_per_prompt = samples;
  limits.fewer_completions = true;
  limits.calibrated_heads = 0;
  limits.min_credit = limits.max_credit = 1;
  return limits;
}

size_t MaxGroupBytes(const TrajectoryLimits& limits) {
  const size_t completion = static_cast<size_t>(limits.max_completion_tokens) * kBytesPerToken +
                            static_cast<size_t>(limits.max_turns) * kBytesPerTurn + kMaxRhythmHeads * kBytesPerHead +
                            kBytesPerMessage;
  return static_cast<size_t>(limits.max_prompt_tokens) * kBytesPerId + kBytesPerMessage +
         static_cast<size_t>(limits.completions_per_prompt) * completion;
}

size_t MaxLeaseBytes(const TrajectoryLimits& limits) {
  return static_cast<size_t>(limits.max_prompt_tokens) * kBytesPerId + kMaxAnswerKeyBytes + kBytesPerMessage;
}

absl::string_view NonfiniteValue(const absl::Status& refusal) {
  const absl::optional<absl::Cord> kind = refusal.GetPayload(kNonfiniteUrl);
  for (const absl::string_view known : kNonfiniteKinds) {
    if (kind.has_value() && *kind == known) return known;
  }
  return "";
}

absl::Status ValidateGroup(const TrajectoryGroup& group, const TrajectoryLimits& limits) {
  if (group.actor_id.empty() || group.actor_id.size() > kMaxNameBytes) {
    return Invalid("group.actor_id has ", group.actor_id.size(), " bytes; expected 1 to ", kMaxNameBytes);
  }
  RETURN_IF_ERROR(
      CheckIds("group.prompt_token_ids", group.prompt_token_ids, limits.max_prompt_tokens, limits.vocab_size));
  const size_t completions = group.completions.size(), most = static_cast<size_t>(limits.completions_per_prompt);
  if (completions != most && (!limits.fewer_completions || completions == 0 || completions > most)) {
    return Invalid("group.completions has ", completions, " entries; expected ",
                   limits.fewer_completions ? "1 to " : "", most);
  }
  RETURN_IF_ERROR(CheckSeconds("group.sampling_s", group.times.sampling_s));
  RETURN_IF_ERROR(CheckSeconds("group.handing_in_s", group.times.handing_in_s));
  for (size_t i = 0; i < group.completions.size(); ++i) {
    RETURN_IF_ERROR(CheckCompletion(absl::StrCat("group.completions[", i, "]"), group.completions[i], limits));
  }
  return absl::OkStatus();
}

absl::Status ValidatePrompt(const Prompt& prompt, const TrajectoryLimits& limits) {
  if (prompt.answer_key_json.size() > kMaxAnswerKeyBytes) {
    return Invalid("prompt.answer_key_json has ", prompt.answer_key_json.size(), " bytes; at most ", kMaxAnswerKeyBytes,
                   " allowed");
  }
  if (prompt.source >= static_cast<uint32_t>(limits.sources)) {
    return Invalid("prompt.source is ", prompt.source, "; expected less than ", limits.sources,
                   ", the number of the run's sources");
  }
  return CheckIds("prompt.token_ids", prompt.token_ids, limits.max_prompt_tokens, limits.vocab_size);
}

std::string EncodeGroup(const TrajectoryGroup& group) {
  wire::TrajectoryGroup out;
  out.set_lease_id(group.lease_id);
  out.set_prompt_id(group.prompt_id);
  out.mutable_prompt_token_ids()->Add(group.prompt_token_ids.begin(), group.prompt_token_ids.end());
  for (const Completion& completion : group.completions) ToWire(completion, out.add_completions());
  out.set_actor_id(group.actor_id);
  out.set_sampling_s(group.times.sampling_s);
  out.set_handing_in_s(group.times.handing_in_s);
  return out.SerializeAsString();
}

uint64_t LeaseIdOf(std::span<const absl::string_view> pieces) {
  PieceStream stream(pieces);
  CodedInputStream in(stream.get());
  const uint32_t wanted =
      WireFormatLite::MakeTag(wire::TrajectoryGroup::kLeaseIdFieldNumber, WireFormatLite::WIRETYPE_VARINT);
  while (const uint32_t tag = in.ReadTag()) {
    uint64_t id = 0;
    if (tag == wanted) return in.ReadVarint64(&id) ? id : 0;
    if (!WireFormatLite::SkipField(&in, tag)) return 0;  // malformed: the real parser reports it
  }
  return 0;
}

absl::StatusOr<TrajectoryGroup> DecodeGroup(absl::string_view bytes, const TrajectoryLimits& limits) {
  return DecodeGroup(std::span(&bytes, 1), limits);
}

absl::StatusOr<TrajectoryGroup> DecodeGroup(std::span<const absl::string_view> pieces, const TrajectoryLimits& limits) {
  size_t size = 0;
  for (const absl::string_view piece : pieces) size += piece.size();
  if (size > MaxGroupBytes(limits)) {
    return Invalid("group has ", size, " bytes; at most ", MaxGroupBytes(limits), " are possible in this run");
  }
  if (HasMoreCompletionsThan(pieces, limits.completions_per_prompt)) {
    return Invalid("group.completions has more entries than ", limits.completions_per_prompt);
  }
  wire::TrajectoryGroup in;
  if (!in.ParseFromZeroCopyStream(PieceStream(pieces).get())) {
    return Invalid("group is not a TrajectoryGroup message: ", size, " bytes do not parse");
  }
  // A repeated scalar keeps only its last value, so the parsed message is smaller than its bytes.
  if (in.ByteSizeLong() != size) {
    return Invalid("group has a field that occurs twice or is not minimally encoded: ", size, " bytes hold ",
                   in.ByteSizeLong());
  }
  TrajectoryGroup group;
  group.lease_id = in.lease_id();
  group.prompt_id = in.prompt_id();
  group.prompt_token_ids = ToVector<TokenId>(in.prompt_token_ids());
  group.actor_id = in.actor_id();
  group.times = {.sampling_s = in.sampling_s(), .handing_in_s = in.handing_in_s()};
  group.completions.reserve(static_cast<size_t>(in.completions_size()));
  for (int i = 0; i < in.completions_size(); ++i) {
    ASSIGN_OR_RETURN(Completion completion, FromWire(absl::StrCat("group.completions[", i, "]"), in.completions(i)));
    group.completions.push_back(std::move(completion));
  }
  RETURN_IF_ERROR(ValidateGroup(group, limits));
  return group;
}

wire::HeadClasses ToWire(const HeadClasses& classes) {
  wire::HeadClasses out;
  out.mutable_local()->Add(classes.local.begin(), classes.local.end());
  out.mutable_global()->Add(classes.global.begin(), classes.global.end());
  return out;
}

absl::StatusOr<std::optional<HeadClasses>> FromWire(absl::string_view where, const wire::HeadClasses* classes,
                                                    int num_heads) {
  if (classes == nullptr) return std::nullopt;
  if (num_heads == 0) return Invalid(where, " are given; this run has none, as credit.head_mode is not CALIBRATED");
  HeadClasses out = ClassesOf(*classes);
  RETURN_IF_ERROR(CheckClasses(where, out, static_cast<size_t>(num_heads)));
  return out;
}

wire::PolicyVersion ToWire(const PolicyVersion& version) {
  wire::PolicyVersion out;
  out.set_incarnation(version.incarnation);
  out.set_step(version.step);
  return out;
}

PolicyVersion FromWire(const wire::PolicyVersion& version) { return {version.incarnation(), version.step()}; }

std::string VersionName(const PolicyVersion& version) { return absl::StrCat(version.incarnation, ".", version.step); }

}  // namespace tactus
