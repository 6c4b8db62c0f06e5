#include "tools/study/credit_lines.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/json_field.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
std::vector<T> Pick(const std::vector<T>& values, const std::vector<int32_t>& positions) {
  std::vector<T> picked;
  picked.reserve(positions.size());
  for (const int32_t t : positions) picked.push_back(values[static_cast<size_t>(t)]);
  return picked;
}

Json Figures(const Interval& interval) {
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

Json SplitJson(const TruthSplit& split, bool all) {
  Json json = {{"name", split.name},
               {"responses", split.responses},
               {"tokens", split.tokens},
               {"mean_square", split.mean_square}};
  for (const SignalResult& one : split.signals) {
    Json signal = {{"name", one.name},
                   {"amplified_share", one.share},
                   {"mass", one.has_mass ? Figures(one.mass) : Json()},
                   {"mass_permuted", one.has_mass ? Figures(one.permuted) : Json()},
                   {"p_value", one.has_mass ? Json(one.p_value) : Json()}};
    if (all) {
      signal["rank"] = Figures(one.rank);
      signal["rank_given_position"] = Figures(one.rank_given_position);
      signal["precision"] = Figures(one.precision);
    }
    json["signals"].push_back(std::move(signal));
  }
  return json;
}

std::string Cell(const Interval& interval) {
  return absl::StrFormat("%6.2f [%5.2f, %5.2f]", interval.value, interval.low, interval.high);
}

absl::StatusOr<TokenKind> KindNamed(const JsonField& field) {
  ASSIGN_OR_RETURN(const std::string name, field.String());
  for (int kind = 0; kind < kTokenKinds; ++kind) {
    if (NameOf(static_cast<TokenKind>(kind)) == name) return static_cast<TokenKind>(kind);
  }
  return field.Expected("a kind of token");
}

absl::Status ReadSignals(const JsonField& field, TruthLine& line) {
  RETURN_IF_ERROR(field.CheckObject());
  for (const auto& item : field.value().items()) {
    ASSIGN_OR_RETURN(const JsonField one, field.Member(item.key()));
    Signal signal{.name = item.key()};
    JSON_MEMBER(signal.score, one, "score", Numbers());
    JSON_MEMBER(signal.gamma, one, "gamma", Numbers());
    if (signal.score.size() != line.text.size() || signal.gamma.size() != line.text.size()) {
      return one.Expected("a number for each token");
    }
    line.signals.push_back(std::move(signal));
  }
  return absl::OkStatus();
}

absl::StatusOr<TruthLine> ReadTruthLine(const JsonField& field) {
  TruthLine line;
  JSON_MEMBER(line.row, field, "row", Unsigned());
  JSON_MEMBER(line.reward, field, "reward", Number());
  JSON_MEMBER(line.right, field, "right", Bool());
  JSON_MEMBER(line.text, field, "text", Strings());
  ASSIGN_OR_RETURN(const JsonField kinds, field.Member("kinds"));
  ASSIGN_OR_RETURN(const size_t tokens, kinds.ArraySize());
  for (size_t t = 0; t < tokens; ++t) {
    ASSIGN_OR_RETURN(const TokenKind kind, KindNamed(kinds.Element(t)));
    line.kinds.push_back(kind);
  }
  JSON_MEMBER(line.waad, field, "waad", Numbers());
  JSON_MEMBER(line.fai, field, "fai", Numbers());
  JSON_MEMBER(line.positions, field, "positions", Indices());
  JSON_MEMBER(line.value, field, "value", Numbers());
  JSON_MEMBER(line.first, field, "first", Numbers());
  JSON_MEMBER(line.second, field, "second", Numbers());
  const size_t probed = line.positions.size();
  if (line.text.size() != tokens || line.waad.size() != tokens || line.fai.size() != tokens ||
      line.value.size() != probed || line.first.size() != probed || line.second.size() != probed) {
    return field.Error("expected lists of one length for the tokens, and for those probed");
  }
  int64_t before = -1;
  for (const int32_t t : line.positions) {
    if (t <= before || static_cast<size_t>(t) >= tokens) {
      return field.Error("positions: expected tokens of the response, in their order");
    }
    before = t;
  }
  ASSIGN_OR_RETURN(const JsonField signals, field.Member("signals"));
  RETURN_IF_ERROR(ReadSignals(signals, line));
  return line;
}

}  // namespace

Truth TruthLine::AtPositions() const {
  Truth truth{.tokens = static_cast<int64_t>(text.size()),
              .right = right,
              .positions = positions,
              .kinds = Pick(kinds, positions),
              .first = first,
              .second = second};
  for (const Signal& signal : signals) {
    truth.signals.push_back({signal.name, Pick(signal.score, positions), Pick(signal.gamma, positions)});
  }
  return truth;
}

std::string LineOf(const TruthLine& line) {
  Json json = {{"row", line.row}, {"reward", line.reward}, {"right", line.right}, {"text", line.text}};
  json["kinds"] = Json::array();
  for (const TokenKind kind : line.kinds) json["kinds"].push_back(std::string(NameOf(kind)));
  json["waad"] = line.waad;
  json["fai"] = line.fai;
  json["positions"] = line.positions;
  json["value"] = line.value;
  json["first"] = line.first;
  json["second"] = line.second;
  json["signals"] = Json::object();
  for (const Signal& signal : line.signals) {
    json["signals"][signal.name] = {{"score", signal.score}, {"gamma", signal.gamma}};
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<std::vector<TruthLine>> ReadTruthLines(absl::string_view text, absl::string_view path) {
  std::vector<TruthLine> lines;
  std::set<uint64_t> rows;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::string where = absl::StrCat(path, ":", lines.size() + 1);
    ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(line, where, kJsonLineLimits));
    const JsonField field(json, where);
    ASSIGN_OR_RETURN(TruthLine one, ReadTruthLine(field));
    if (!rows.insert(one.row).second) return field.Error("row: expected one that no line before has");
    if (!lines.empty() && !std::ranges::equal(one.signals, lines.front().signals, {}, &Signal::name, &Signal::name)) {
      return field.Error("signals: expected those of the first line");
    }
    lines.push_back(std::move(one));
  }
  return lines;
}

Json TruthJson(const TruthSummary& summary) {
  Json json = {{"precision_by_chance", summary.precision_by_chance},
               {"advantage_noise_variance", summary.noise},
               {"all", SplitJson(summary.all, true)}};
  json["splits"] = Json::array();
  for (const TruthSplit& split : summary.splits) json["splits"].push_back(SplitJson(split, false));
  return json;
}

std::string TruthTable(const TruthSummary& summary) {
  std::string out = absl::StrFormat(
      "%d responses, %d tokens probed; mean A^2 %.4f (noise of V, which is no part of it: %.4f)\n\n"
      "%-26s %5s  %-22s %-15s %7s  %-22s %-22s %s\n",
      summary.all.responses, summary.all.tokens, summary.all.mean_square, summary.noise, "signal", "share",
      "A^2, times the mean", "by chance", "p", "rank with |A|", "given position",
      absl::StrFormat("precision (by chance %.2f)", summary.precision_by_chance));
  for (const SignalResult& one : summary.all.signals) {
    absl::StrAppendFormat(&out, "%-26s %5.2f  %-22s %-15s %7s  %-22s %-22s %s\n", one.name, one.share,
                          one.has_mass ? Cell(one.mass) : "none",
                          one.has_mass ? absl::StrFormat("[%5.2f, %5.2f]", one.permuted.low, one.permuted.high) : "",
                          one.has_mass ? absl::StrFormat("%.4f", one.p_value) : "", Cell(one.rank),
                          Cell(one.rank_given_position), Cell(one.precision));
  }
  if (!summary.splits.empty()) absl::StrAppend(&out, "\nA^2 of amplified tokens, times the mean of the part\n");
  for (const TruthSplit& split : summary.splits) {
    absl::StrAppendFormat(&out, "%s (%d tokens, mean A^2 %.4f):", split.name, split.tokens, split.mean_square);
    for (const SignalResult& one : split.signals) {
      if (!one.has_mass) continue;
      absl::StrAppendFormat(&out, "  %s %.2f [%.2f, %.2f]", one.name, one.mass.value, one.mass.low, one.mass.high);
    }
    out += '\n';
  }
  return out;
}

}  // namespace tactus
