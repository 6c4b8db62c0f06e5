#include "tools/batch/response_jsonl.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tasks/json_fields.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxValues = size_t{1} << 20;

absl::StatusOr<ResponseLine> ReadResponse(const std::string& text, const std::string& where) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonLine(text, where, {"id", "prompt_ids", "response_ids"}, kMaxValues));
  const Json& id = json.at("id");
  if (!id.is_string() && !id.is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": id: expected a string or an integer"));
  }
  ResponseLine line;
  line.id_json = id.dump();
  line.where = where;
  ASSIGN_OR_RETURN(line.item.prompt_ids, JsonTokenIds(json, where, "prompt_ids"));
  ASSIGN_OR_RETURN(line.item.response_ids, JsonTokenIds(json, where, "response_ids"));
  if (line.item.prompt_ids.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": prompt_ids: expected at least one token id"));
  }
  return line;
}

}  // namespace

absl::Status ForEachResponses(std::istream& in, absl::string_view input_name, size_t lines_at_once,
                              absl::FunctionRef<absl::Status(std::span<const ResponseLine>)> use) {
  std::vector<ResponseLine> lines;
  std::string text;
  bool more = true;
  for (int64_t number = 1; more; ++number) {
    const std::string where = absl::StrCat(input_name, ":", number);
    ASSIGN_OR_RETURN(more, ReadJsonLine(in, where, text));
    if (more && !absl::StripAsciiWhitespace(text).empty()) {
      ASSIGN_OR_RETURN(lines.emplace_back(), ReadResponse(text, where));
    }
    if (lines.empty() || (more && lines.size() < lines_at_once)) continue;
    RETURN_IF_ERROR(use(lines));
    lines.clear();
  }
  return absl::OkStatus();
}

}  // namespace tactus
