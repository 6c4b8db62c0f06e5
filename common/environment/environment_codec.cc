#include "common/environment/environment_codec.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/tokenizer/utf8.h"
#include "proto/environment_service.pb.h"

namespace tactus {
namespace {

namespace v1 = environment::v1;

constexpr int kMostCalls = 65536;

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status CheckBytes(absl::string_view field, const std::string& text, size_t least, size_t most) {
  if (text.size() >= least && text.size() <= most) return absl::OkStatus();
  return Invalid(field, " has ", text.size(), " bytes; expected ", least, " to ", most);
}

using RewardParts = google::protobuf::RepeatedPtrField<v1::RewardPart>;

absl::StatusOr<double> SumOf(absl::string_view where, const RewardParts& parts, int least) {
  if (parts.size() < least || parts.size() > kMaxRewardParts) {
    return Invalid(where, " has ", parts.size(), " reward parts; expected ", least, " to ", kMaxRewardParts);
  }
  double sum = 0;
  for (const v1::RewardPart& part : parts) {
    RETURN_IF_ERROR(CheckBytes(absl::StrCat(where, ": a reward part's name"), part.name(), 0, kMaxPartNameBytes));
    const std::string name = absl::StrCat(where, ": reward part \"", absl::CHexEscape(part.name()), "\"");
    if (!part.has_value()) return Invalid(name, " has no value");
    if (!std::isfinite(part.value())) return Invalid(name, " is ", part.value(), "; expected a finite number");
    sum += part.value();
  }
  if (std::fabs(sum) <= kMaxEnvironmentReward) return sum;
  return Invalid(where, ": the reward is ", sum, "; expected a number from -", kMaxEnvironmentReward, " to ",
                 kMaxEnvironmentReward);
}

absl::Status CheckVerdict(absl::string_view where, v1::Verdict verdict) {
  if (verdict == v1::PASS || verdict == v1::FAIL) return absl::OkStatus();
  return Invalid(where, " has the verdict ", static_cast<int>(verdict), "; expected PASS or FAIL");
}

absl::StatusOr<Reward> RewardOf(absl::string_view where, const v1::Score& score) {
  Reward reward{.reason = score.reason()};
  ASSIGN_OR_RETURN(reward.total, SumOf(where, score.parts(), /*least=*/1));
  RETURN_IF_ERROR(CheckVerdict(where, score.verdict()));
  RETURN_IF_ERROR(CheckBytes(absl::StrCat(where, ": reason"), reward.reason, 0, kMaxNameBytes));
  reward.correct = score.verdict() == v1::PASS ? 1 : 0;
  reward.format = reward.total - reward.correct;
  return reward;
}

// What only the last reply has.
absl::Status CheckEnd(const v1::ConverseReply& reply) {
  RETURN_IF_ERROR(CheckVerdict("the reply with done", reply.verdict()));
  RETURN_IF_ERROR(CheckBytes("reason", reply.reason(), 0, kMaxNameBytes));
  if (reply.metrics_size() > kMaxRewardParts) {
    return Invalid("it has ", reply.metrics_size(), " metrics; expected at most ", kMaxRewardParts);
  }
  for (const auto& [name, value] : reply.metrics()) {
    RETURN_IF_ERROR(CheckBytes("a metric's name", name, 1, kMaxPartNameBytes));
    if (!std::isfinite(value)) return Invalid("metric \"", absl::CHexEscape(name), "\" is ", value);
  }
  if (reply.messages().empty() && reply.text().empty()) return absl::OkStatus();
  return Invalid("it has done, and messages or text besides; expected one of the two");
}

absl::Status CheckGoesOn(const v1::ConverseReply& reply) {
  if (reply.messages().empty() == reply.text().empty()) {
    return Invalid("it has ", reply.text().empty() ? "neither" : "both", " messages ",
                   reply.text().empty() ? "nor" : "and", " text; expected one of the two, or done");
  }
  if (reply.messages_size() > kMaxReplyMessages) {
    return Invalid("it has ", reply.messages_size(), " messages; expected at most ", kMaxReplyMessages);
  }
  for (int i = 0; i < reply.messages_size(); ++i) {
    const std::string& role = reply.messages(i).role();
    if (!role.empty() && role != "assistant") continue;
    return Invalid("messages[", i, "] has the role \"", role,
                   "\"; expected \"user\", \"tool\" or another of the model's template");
  }
  if (reply.verdict() == v1::VERDICT_UNSPECIFIED && reply.reason().empty() && reply.metrics().empty()) {
    return absl::OkStatus();
  }
  return Invalid("it has a verdict, a reason or metrics without done");
}

v1::Limit ToWireLimit(EpisodeLimit limit) {
  switch (limit) {
    case EpisodeLimit::kNone:
      return v1::LIMIT_UNSPECIFIED;
    case EpisodeLimit::kTurns:
      return v1::LIMIT_TURNS;
    case EpisodeLimit::kTokens:
      return v1::LIMIT_TOKENS;
  }
  return v1::LIMIT_UNSPECIFIED;
}

}  // namespace

v1::ConverseRequest ToWire(const EpisodeOpening& opening) {
  v1::ConverseRequest request;
  v1::Opening& out = *request.mutable_opening();
  out.set_prompt(ReplaceInvalidUtf8(opening.question.text));
  out.mutable_prompt_token_ids()->Add(opening.question.token_ids.begin(), opening.question.token_ids.end());
  out.set_answer_key(std::string(opening.question.answer_key));
  out.set_run_seed(opening.run_seed);
  out.set_prompt_number(opening.prompt_number);
  out.set_completion(static_cast<uint32_t>(opening.completion));
  out.set_max_turns(static_cast<uint32_t>(opening.max_turns));
  out.set_max_tokens(static_cast<uint32_t>(opening.max_tokens));
  out.set_max_turn_tokens(static_cast<uint32_t>(opening.max_turn_tokens));
  out.set_reply_timeout_s(absl::ToDoubleSeconds(opening.reply_timeout));
  return request;
}

v1::ConverseRequest ToWire(const EpisodeTurn& turn) {
  v1::ConverseRequest request;
  v1::Turn& out = *request.mutable_turn();
  out.set_number(static_cast<uint32_t>(turn.number));
  out.set_text(ReplaceInvalidUtf8(turn.answer.text));
  out.mutable_token_ids()->Add(turn.answer.token_ids.begin(), turn.answer.token_ids.end());
  out.set_truncated(turn.answer.truncated);
  out.set_undecodable(turn.answer.undecodable);
  out.set_last(ToWireLimit(turn.last));
  out.set_tokens_left(static_cast<uint32_t>(turn.tokens_left));
  return request;
}

v1::ConverseRequest ToWire(EpisodeLimit stop) {
  v1::ConverseRequest request;
  request.mutable_stop()->set_limit(ToWireLimit(stop));
  return request;
}

absl::StatusOr<EpisodeReply> FromWire(const v1::ConverseReply& reply, bool must_end) {
  if (must_end && !reply.done()) return Invalid("it goes on, and a limit has ended the episode; expected done");
  RETURN_IF_ERROR(reply.done() ? CheckEnd(reply) : CheckGoesOn(reply));
  EpisodeReply out{.text = reply.text(), .done = reply.done(), .correct = reply.verdict() == v1::PASS};
  out.reason = reply.reason();
  ASSIGN_OR_RETURN(out.reward, SumOf("the reply", reply.parts(), /*least=*/reply.done() ? 1 : 0));
  for (const v1::Message& message : reply.messages()) {
    out.messages.push_back({message.role(), message.content(), message.name(), message.tool_call_id()});
  }
  return out;
}

v1::ScoreRequest ToWire(const Question& question, std::span<const Answer> answers) {
  v1::ScoreRequest out;
  out.set_prompt(ReplaceInvalidUtf8(question.text));
  out.mutable_prompt_token_ids()->Add(question.token_ids.begin(), question.token_ids.end());
  out.set_answer_key(std::string(question.answer_key));
  for (const Answer& answer : answers) {
    v1::Completion& completion = *out.add_completions();
    completion.set_text(ReplaceInvalidUtf8(answer.text));
    completion.mutable_token_ids()->Add(answer.token_ids.begin(), answer.token_ids.end());
    completion.set_truncated(answer.truncated);
    completion.set_undecodable(answer.undecodable);
  }
  return out;
}

absl::StatusOr<EnvironmentFacts> FromWire(const v1::Description& description) {
  RETURN_IF_ERROR(CheckBytes("name", description.name(), 0, kMaxNameBytes));
  if (description.kind() != v1::SINGLE_TURN && description.kind() != v1::CONVERSATION) {
    return Invalid("kind is ", static_cast<int>(description.kind()), "; expected SINGLE_TURN or CONVERSATION");
  }
  return EnvironmentFacts{.name = description.name(),
                          .has_prompts = description.has_prompts(),
                          .max_calls = static_cast<int>(std::min<uint32_t>(description.max_calls(), kMostCalls)),
                          .conversations = description.kind() == v1::CONVERSATION};
}

absl::StatusOr<NamedExample> FromWire(const v1::EnvironmentPrompt& prompt) {
  RETURN_IF_ERROR(CheckBytes("a prompt's id", prompt.id(), 1, kMaxNameBytes));
  const std::string where = absl::StrCat("the environment's prompt \"", absl::CHexEscape(prompt.id()), "\"");
  if (prompt.prompt().empty()) return Invalid(where, " is empty; expected some text");
  RETURN_IF_ERROR(CheckBytes(absl::StrCat(where, ": answer_key"), prompt.answer_key(), 0, kMaxAnswerKeyBytes));
  RETURN_IF_ERROR(CheckBytes(absl::StrCat(where, ": tools"), prompt.tools(), 0, kMaxAnswerKeyBytes));
  return NamedExample{.id = prompt.id(),
                      .example = {.system = prompt.system(),
                                  .user = prompt.prompt(),
                                  .answer_key_json = prompt.answer_key(),
                                  .tools_json = prompt.tools(),
                                  .where = where}};
}

absl::StatusOr<std::vector<Reward>> FromWire(const v1::ScoreReply& reply, size_t answers) {
  if (static_cast<size_t>(reply.scores_size()) != answers) {
    return Invalid("it has ", reply.scores_size(), " scores; expected one for each of ", answers, " answers");
  }
  std::vector<Reward> rewards;
  for (int i = 0; i < reply.scores_size(); ++i) {
    ASSIGN_OR_RETURN(rewards.emplace_back(), RewardOf(absl::StrCat("scores[", i, "]"), reply.scores(i)));
  }
  return rewards;
}

}  // namespace tactus
