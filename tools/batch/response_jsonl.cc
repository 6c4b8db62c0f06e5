#include "tools/batch/response_jsonl.h"

#include "common/base/json_lines.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

absl::StatusOr<ResponseLine> ReadResponse(const JsonField& field) {
  RETURN_IF_ERROR(field.CheckKeys({"id", "prompt_ids", "response_ids"}));
  ResponseLine line;
  line.where = std::string(field.source());
  JSON_MEMBER(line.id_json, field, "id", Id());
  JSON_MEMBER(line.item.prompt_ids, field, "prompt_ids", Indices());
  JSON_MEMBER(line.item.response_ids, field, "response_ids", Indices());
  if (line.item.prompt_ids.empty()) return field.Error("prompt_ids: expected at least one token id");
  return line;
}

}  // namespace

absl::Status ForEachResponses(std::istream& in, absl::string_view input_name, size_t lines_at_once,
                              absl::FunctionRef<absl::Status(std::span<const ResponseLine>)> use) {
  std::vector<ResponseLine> lines;
  RETURN_IF_ERROR(ForEachJsonLine(in, input_name, [&](const JsonField& field) -> absl::Status {
    ASSIGN_OR_RETURN(lines.emplace_back(), ReadResponse(field));
    if (lines.size() < lines_at_once) return absl::OkStatus();
    const absl::Status used = use(lines);
    lines.clear();
    return used;
  }));
  return lines.empty() ? absl::OkStatus() : use(lines);
}

}  // namespace tactus
