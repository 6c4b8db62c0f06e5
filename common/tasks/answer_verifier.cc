#include "common/tasks/answer_verifier.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/tasks/answer_text.h"
#include "common/tasks/number_text.h"

namespace tactus {
namespace {

// An answer is often boxed inside a tag: the box's content is meant.
absl::string_view OpenBox(absl::string_view text) {
  const auto boxed = LastBoxed(text);
  return boxed ? boxed->text : text;
}

}  // namespace

std::string AnswerKey(absl::string_view reference) { return nlohmann::json{{"answer", std::string(reference)}}.dump(); }

std::string FinalAnswer(absl::string_view reference) {
  if (const auto hashes = LastHashes(reference)) return std::string(hashes->text);
  return std::string(OpenBox(absl::StripAsciiWhitespace(reference)));
}

absl::StatusOr<Reward> AnswerVerifier::Score(absl::string_view answer_key_json, absl::string_view completion) const {
  constexpr absl::string_view kWhere = "answer key";
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(answer_key_json, kWhere, kJsonLineLimits));
  const JsonField key(json, kWhere);
  RETURN_IF_ERROR(key.CheckKeys({"answer"}));
  JSON_MEMBER(const std::string reference, key, "answer", String());
  const auto marked = LastMarkedAnswer(completion);
  const absl::string_view answer = marked ? OpenBox(marked->text) : absl::StripAsciiWhitespace(completion);
  if (answer.empty()) return Reward{.reason = marked ? "empty_answer" : "no_answer"};
  const auto expected = ParseNumber(reference), found = ParseNumber(answer);
  if (answer == absl::string_view(reference) || (expected && found && *expected == *found)) {
    return Reward{.total = 1, .correct = 1, .format = 0, .reason = "correct"};
  }
  if (expected && !found) return Reward{.reason = marked ? "not_a_number" : "no_answer"};
  const double format = marked ? format_reward_ : 0;
  return Reward{.total = format, .correct = 0, .format = format, .reason = "wrong_answer"};
}

}  // namespace tactus
