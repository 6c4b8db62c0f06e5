#include "tools/batch/verify_jsonl.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/tasks/task.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

absl::StatusOr<std::string> VerdictLine(const Verifier& verifier, const JsonField& request) {
  RETURN_IF_ERROR(request.CheckHas({"id", "response"}));
  JSON_MEMBER(const std::string id, request, "id", Id());
  JSON_MEMBER(const std::string response, request, "response", String());
  nlohmann::json key = request.value();
  key.erase("id");
  key.erase("response");
  const absl::StatusOr<Reward> reward = verifier.Score(key.dump(), response);
  if (!reward.ok()) return request.Error(reward.status().message());
  const nlohmann::ordered_json verdict = {{"id", nlohmann::ordered_json::parse(id)},
                                          {"correct", reward->correct == 1},
                                          {"reward", reward->total},
                                          {"reason", reward->reason}};
  return verdict.dump();
}

}  // namespace

absl::Status VerifyJsonl(absl::string_view task, std::istream& in, absl::string_view input_name, std::ostream& out) {
  const auto verifier = CreateVerifier(task, config::TaskOptions::default_instance().format_reward());
  if (!verifier.ok()) return absl::InvalidArgumentError(absl::StrCat("--task: ", verifier.status().message()));
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", input_name));
  RETURN_IF_ERROR(ForEachJsonLine(in, input_name, [&](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string verdict, VerdictLine(**verifier, line));
    out << verdict << '\n';
    if (out) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("cannot write the verdict of ", line.source(), " to the output"));
  }));
  if (!out.flush()) return absl::InternalError("cannot write the verdicts to the output");
  return absl::OkStatus();
}

}  // namespace tactus
