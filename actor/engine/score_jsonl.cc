#include "actor/engine/score_jsonl.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tasks/json_fields.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxValues = size_t{1} << 20;

struct Line {
  Json id;
  std::string where;
};

absl::Status ReadItem(const std::string& text, const std::string& where, std::vector<Line>& lines,
                      std::vector<ScoreItem>& items) {
  ASSIGN_OR_RETURN(const Json json, ParseJsonLine(text, where, {"id", "prompt_ids", "response_ids"}, kMaxValues));
  const Json& id = json.at("id");
  if (!id.is_string() && !id.is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": id: expected a string or an integer"));
  }
  ScoreItem item;
  ASSIGN_OR_RETURN(item.prompt_ids, JsonTokenIds(json, where, "prompt_ids"));
  ASSIGN_OR_RETURN(item.response_ids, JsonTokenIds(json, where, "response_ids"));
  if (item.prompt_ids.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": prompt_ids: expected at least one token id"));
  }
  lines.push_back({id, where});
  items.push_back(std::move(item));
  return absl::OkStatus();
}

absl::Status ScoreLines(ResponseScorer& scorer, const std::vector<Line>& lines, const std::vector<ScoreItem>& items,
                        std::ostream& out) {
  const auto scores = scorer.Score(items);
  if (!scores.ok()) {
    return absl::Status(scores.status().code(),
                        absl::StrCat(lines.front().where, " and the lines after it: ", scores.status().message()));
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    std::vector<std::string> bits;
    for (const float value : (*scores)[i]) {
      bits.push_back(absl::StrCat(absl::Hex(std::bit_cast<uint32_t>(value), absl::kZeroPad8)));
    }
    out << Json{{"id", lines[i].id}, {"logprobs", (*scores)[i]}, {"bits", bits}}.dump() << '\n';
  }
  return out ? absl::OkStatus() : absl::DataLossError("cannot write the scores to the output");
}

}  // namespace

absl::Status ScoreJsonl(ResponseScorer& scorer, int batch, std::istream& in, absl::string_view input_name,
                        std::ostream& out) {
  const size_t lines_at_once = size_t{8} * static_cast<size_t>(std::max(1, batch));
  std::vector<Line> lines;
  std::vector<ScoreItem> items;
  std::string text;
  bool more = true;
  for (int64_t number = 1; more; ++number) {
    const std::string where = absl::StrCat(input_name, ":", number);
    ASSIGN_OR_RETURN(more, ReadJsonLine(in, where, text));
    if (more && !absl::StripAsciiWhitespace(text).empty()) RETURN_IF_ERROR(ReadItem(text, where, lines, items));
    if (items.empty() || (more && items.size() < lines_at_once)) continue;
    RETURN_IF_ERROR(ScoreLines(scorer, lines, items, out));
    lines.clear();
    items.clear();
  }
  return out.flush() ? absl::OkStatus() : absl::DataLossError("cannot write the scores to the output");
}

}  // namespace tactus
