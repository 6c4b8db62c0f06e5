#include "tools/batch/score_jsonl.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

absl::Status ScoreLines(ResponseScorer& scorer, std::span<const ResponseLine> lines, std::ostream& out) {
  std::vector<ScoreItem> items;
  for (const ResponseLine& line : lines) items.push_back(line.item);
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
    out << Json{{"id", Json::parse(lines[i].id_json)}, {"logprobs", (*scores)[i]}, {"bits", bits}}.dump() << '\n';
  }
  return out ? absl::OkStatus() : absl::DataLossError("cannot write the scores to the output");
}

}  // namespace

absl::Status ScoreJsonl(ResponseScorer& scorer, const ResponseLimits& limits, int batch, std::istream& in,
                        absl::string_view input_name, std::ostream& out) {
  RETURN_IF_ERROR(
      ForEachResponses(in, input_name, limits, size_t{8} * static_cast<size_t>(std::max(1, batch)),
                       [&](std::span<const ResponseLine> lines) { return ScoreLines(scorer, lines, out); }));
  return out.flush() ? absl::OkStatus() : absl::DataLossError("cannot write the scores to the output");
}

}  // namespace tactus
