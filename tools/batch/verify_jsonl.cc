#include "tools/batch/verify_jsonl.h"

#include <cctype>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tasks/countdown.h"
#include "common/tasks/json_fields.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

absl::StatusOr<std::string> VerdictLine(const CountdownVerifier& verifier, absl::string_view line,
                                        absl::string_view where) {
  ASSIGN_OR_RETURN(const auto request, ParseJsonLine(line, where, {"id", "numbers", "target", "response"}));
  const auto& id = request.at("id");
  if (!id.is_string() && !id.is_number_integer()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": id: expected a string or an integer, found a ", id.type_name()));
  }
  ASSIGN_OR_RETURN(const CountdownPuzzle puzzle, PuzzleFromJson(request, where));
  ASSIGN_OR_RETURN(const std::string response, JsonString(request, where, "response"));
  const Reward reward = verifier.Score(puzzle, response);
  const nlohmann::ordered_json verdict = {
      {"id", id}, {"correct", reward.correct == 1}, {"reward", reward.total}, {"reason", reward.reason}};
  return verdict.dump();
}

}  // namespace

absl::Status VerifyJsonl(absl::string_view task, std::istream& in, absl::string_view input_name, std::ostream& out) {
  if (task != "countdown") {
    return absl::InvalidArgumentError(absl::StrCat("--task: \"", task, "\" is unknown, expected countdown"));
  }
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", input_name));
  const CountdownVerifier verifier(config::TaskOptions::default_instance().format_reward());
  std::string line;
  for (int64_t number = 1;; ++number) {
    const std::string where = absl::StrCat(input_name, ":", number);
    ASSIGN_OR_RETURN(const bool more, ReadJsonLine(in, where, line));
    if (!more) break;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    ASSIGN_OR_RETURN(const std::string verdict, VerdictLine(verifier, line, where));
    out << verdict << '\n';
    if (!out) return absl::InternalError(absl::StrCat("cannot write the verdict of ", where, " to the output"));
  }
  if (!out.flush()) return absl::InternalError("cannot write the verdicts to the output");
  return absl::OkStatus();
}

}  // namespace tactus
