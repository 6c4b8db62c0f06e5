#include "tools/batch/verify_jsonl.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

// What a verifier or an environment compares with: all that is no part of the answer, as JSON.
absl::StatusOr<std::string> AnswerKeyOf(const JsonField& request) {
  nlohmann::json key = request.value();
  key.erase("id");
  key.erase("response");
  if (key.size() != 1 || !key.contains("answer_key")) return key.dump();
  return request.Member("answer_key")->String();
}

absl::StatusOr<std::string> VerdictLine(Judge& judge, absl::Duration patience, const JsonField& request) {
  RETURN_IF_ERROR(request.CheckHas({"id", "response"}));
  JSON_MEMBER(const std::string id, request, "id", Id());
  JSON_MEMBER(const std::string response, request, "response", String());
  ASSIGN_OR_RETURN(const std::string key, AnswerKeyOf(request));
  const Answer answer{.text = response, .token_ids = {}};
  const absl::StatusOr<std::vector<Reward>> rewards =
      judge.Score({.text = "", .token_ids = {}, .answer_key = key}, {&answer, 1}, MonotonicNow() + patience);
  if (absl::IsInvalidArgument(rewards.status())) return request.Error(rewards.status().message());
  RETURN_IF_ERROR(rewards.status());
  const Reward& reward = rewards->front();
  const nlohmann::ordered_json verdict = {{"id", nlohmann::ordered_json::parse(id)},
                                          {"correct", reward.correct == 1},
                                          {"reward", reward.total},
                                          {"reason", reward.reason}};
  return verdict.dump();
}

}  // namespace

absl::Status VerifyJsonl(Judge& judge, absl::Duration patience, std::istream& in, absl::string_view input_name,
                         std::ostream& out) {
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", input_name));
  RETURN_IF_ERROR(ForEachJsonLine(in, input_name, [&](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string verdict, VerdictLine(judge, patience, line));
    out << verdict << '\n';
    if (out) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("cannot write the verdict of ", line.source(), " to the output"));
  }));
  if (!out.flush()) return absl::InternalError("cannot write the verdicts to the output");
  return absl::OkStatus();
}

}  // namespace tactus
