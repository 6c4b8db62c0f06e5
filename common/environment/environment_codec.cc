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

absl::StatusOr<double> SumOf(absl::string_view where, const v1::Score& score) {
  if (score.parts_size() < 1 || score.parts_size() > kMaxRewardParts) {
    return Invalid(where, " has ", score.parts_size(), " reward parts; expected 1 to ", kMaxRewardParts);
  }
  double sum = 0;
  for (const v1::RewardPart& part : score.parts()) {
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

absl::StatusOr<Reward> RewardOf(absl::string_view where, const v1::Score& score) {
  Reward reward{.reason = score.reason()};
  ASSIGN_OR_RETURN(reward.total, SumOf(where, score));
  if (score.verdict() != v1::PASS && score.verdict() != v1::FAIL) {
    return Invalid(where, " has the verdict ", static_cast<int>(score.verdict()), "; expected PASS or FAIL");
  }
  RETURN_IF_ERROR(CheckBytes(absl::StrCat(where, ": reason"), reward.reason, 0, kMaxNameBytes));
  reward.correct = score.verdict() == v1::PASS ? 1 : 0;
  reward.format = reward.total - reward.correct;
  return reward;
}

}  // namespace

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
  if (description.kind() == v1::CONVERSATION) {
    return Invalid("kind is CONVERSATION, and this build holds no conversations yet; expected SINGLE_TURN");
  }
  if (description.kind() != v1::SINGLE_TURN) {
    return Invalid("kind is ", static_cast<int>(description.kind()),
                   "; expected SINGLE_TURN, the one that this build asks");
  }
  return EnvironmentFacts{.name = description.name(),
                          .has_prompts = description.has_prompts(),
                          .max_calls = static_cast<int>(std::min<uint32_t>(description.max_calls(), kMostCalls))};
}

absl::StatusOr<NamedExample> FromWire(const v1::EnvironmentPrompt& prompt) {
  RETURN_IF_ERROR(CheckBytes("a prompt's id", prompt.id(), 1, kMaxNameBytes));
  const std::string where = absl::StrCat("the environment's prompt \"", absl::CHexEscape(prompt.id()), "\"");
  if (prompt.prompt().empty()) return Invalid(where, " is empty; expected some text");
  RETURN_IF_ERROR(CheckBytes(absl::StrCat(where, ": answer_key"), prompt.answer_key(), 0, kMaxAnswerKeyBytes));
  if (!prompt.tools().empty()) return Invalid(where, " has tools, which this build shows to no model yet");
  return NamedExample{
      .id = prompt.id(),
      .example = {
          .system = prompt.system(), .user = prompt.prompt(), .answer_key_json = prompt.answer_key(), .where = where}};
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
