#include "tools/batch/verify_jsonl.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/tasks/countdown.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

absl::StatusOr<std::string> VerdictLine(const CountdownVerifier& verifier, const JsonField& request) {
  RETURN_IF_ERROR(request.CheckKeys({"id", "numbers", "target", "response"}));
  JSON_MEMBER(const std::string id, request, "id", Id());
  ASSIGN_OR_RETURN(const CountdownPuzzle puzzle, ReadPuzzle(request));
  JSON_MEMBER(const std::string response, request, "response", String());
  const Reward reward = verifier.Score(puzzle, response);
  const nlohmann::ordered_json verdict = {{"id", nlohmann::ordered_json::parse(id)},
                                          {"correct", reward.correct == 1},
                                          {"reward", reward.total},
                                          {"reason", reward.reason}};
  return verdict.dump();
}

}  // namespace

absl::Status VerifyJsonl(absl::string_view task, std::istream& in, absl::string_view input_name, std::ostream& out) {
  if (task != "countdown") {
    return absl::InvalidArgumentError(absl::StrCat("--task: \"", task, "\" is unknown, expected countdown"));
  }
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", input_name));
  const CountdownVerifier verifier(config::TaskOptions::default_instance().format_reward());
  RETURN_IF_ERROR(ForEachJsonLine(in, input_name, [&](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string verdict, VerdictLine(verifier, line));
    out << verdict << '\n';
    if (out) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("cannot write the verdict of ", line.source(), " to the output"));
  }));
  if (!out.flush()) return absl::InternalError("cannot write the verdicts to the output");
  return absl::OkStatus();
}

}  // namespace tactus
