#include "common/tasks/answer_verifier.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/tasks/answer_dress.h"
#include "common/tasks/answer_text.h"
#include "common/tasks/number_text.h"

namespace tactus {
namespace {

struct FoundText {
  absl::string_view text;
  bool marked;
};

FoundText MarkedOrAll(absl::string_view text) {
  const auto marked = LastMarkedAnswer(text);
  if (!marked) return {absl::StripAsciiWhitespace(text), false};
  const auto boxed = LastBoxed(marked->text);  // an answer is often boxed inside a tag: the box's content is meant
  return {boxed ? boxed->text : marked->text, true};
}

}  // namespace

std::string AnswerKey(absl::string_view reference) { return nlohmann::json{{"answer", std::string(reference)}}.dump(); }

std::string FinalAnswer(absl::string_view reference) { return std::string(MarkedOrAll(reference).text); }

absl::StatusOr<Reward> AnswerVerifier::Score(absl::string_view answer_key_json, absl::string_view completion) const {
  constexpr absl::string_view kWhere = "answer key";
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(answer_key_json, kWhere, kJsonLineLimits));
  const JsonField key(json, kWhere);
  RETURN_IF_ERROR(key.CheckKeys({"answer"}));
  JSON_MEMBER(const std::string whole, key, "answer", StringOrNumber());
  const std::string reference = FinalAnswer(whole);
  const auto [answer, marked] = MarkedOrAll(completion);
  if (answer.empty()) return Reward{.reason = marked ? "empty_answer" : "no_answer"};
  const auto expected = ParseNumber(reference), found = ParseNumber(answer);
  if (Undress(answer) == Undress(reference) || (expected && found && SameNumber(*expected, *found))) {
    return Reward{.total = 1, .correct = 1, .format = 0, .reason = "correct"};
  }
  if (expected && !found) return Reward{.reason = marked ? "not_a_number" : "no_answer"};
  const double format = marked ? format_reward_ : 0;
  return Reward{.total = format, .correct = 0, .format = format, .reason = "wrong_answer"};
}

}  // namespace tactus
