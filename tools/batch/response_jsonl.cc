#include "tools/batch/response_jsonl.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/data/turns.h"
#include "tools/batch/prompt_jsonl.h"

namespace tactus {
namespace {

// Of a line of a run's samples.jsonl: as JSON, what names the completion in the run.
absl::StatusOr<std::string> SampleId(const JsonField& sample) {
  JSON_MEMBER(const int64_t step, sample, "step", Integer());
  JSON_MEMBER(const uint64_t prompt, sample, "prompt_id", Unsigned());
  JSON_MEMBER(const int64_t completion, sample, "completion", Integer());
  return absl::StrCat("\"", step, "/", prompt, "/", completion, "\"");
}

// Of a conversation.
absl::Status ReadTurns(const JsonField& field, ScoreItem& item) {
  ASSIGN_OR_RETURN(const JsonField sampled, field.Member("sampled"));
  if (sampled.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<int32_t> places, sampled.Indices());
  std::optional<std::vector<Turn>> turns = TurnsAt(places, item.response_ids.size());
  if (!turns.has_value()) {
    return field.Error(absl::StrCat("sampled: expected the model's places in the response, increasing, with 0 and ",
                                    static_cast<int64_t>(item.response_ids.size()) - 1, " among them"));
  }
  item.turns = *std::move(turns);
  return absl::OkStatus();
}

absl::StatusOr<ResponseLine> ReadResponse(const JsonField& field, const ResponseLimits& limits) {
  ResponseLine line;
  line.where = std::string(field.source());
  const bool sample = field.value().contains("token_ids");
  if (sample) {
    ASSIGN_OR_RETURN(line.id_json, SampleId(field));
  } else {
    RETURN_IF_ERROR(field.CheckKeys({"id", "prompt_ids", "response_ids"}, {"sampled"}));
    JSON_MEMBER(line.id_json, field, "id", Id());
  }
  JSON_MEMBER(line.item.prompt_ids, field, "prompt_ids", Indices());
  JSON_MEMBER(line.item.response_ids, field, sample ? "token_ids" : "response_ids", Indices());
  if (line.item.prompt_ids.empty()) return field.Error("prompt_ids: expected at least one token id");
  RETURN_IF_ERROR(CheckIds(field, "prompt_ids", line.item.prompt_ids, limits.vocab_size));
  RETURN_IF_ERROR(CheckIds(field, "response_ids", line.item.response_ids, limits.vocab_size));
  RETURN_IF_ERROR(ReadTurns(field, line.item));
  const size_t tokens = line.item.prompt_ids.size() + line.item.response_ids.size();
  if (static_cast<int64_t>(tokens) > limits.max_position) {
    return field.Error(absl::StrCat("prompt and response have ", tokens, " tokens, more than the model's ",
                                    limits.max_position, " positions"));
  }
  return line;
}

}  // namespace

absl::Status ForEachResponses(std::istream& in, absl::string_view input_name, const ResponseLimits& limits,
                              size_t lines_at_once,
                              absl::FunctionRef<absl::Status(std::span<const ResponseLine>)> use) {
  std::vector<ResponseLine> lines;
  RETURN_IF_ERROR(ForEachJsonLine(in, input_name, [&](const JsonField& field) -> absl::Status {
    ASSIGN_OR_RETURN(lines.emplace_back(), ReadResponse(field, limits));
    if (lines.size() < lines_at_once) return absl::OkStatus();
    absl::Status used = use(lines);
    lines.clear();
    return used;
  }));
  return lines.empty() ? absl::OkStatus() : use(lines);
}

absl::Status CheckResponses(std::istream& in, absl::string_view input_name, const ResponseLimits& limits) {
  return ForEachResponses(in, input_name, limits, /*lines_at_once=*/1,
                          [](std::span<const ResponseLine>) { return absl::OkStatus(); });
}

}  // namespace tactus
