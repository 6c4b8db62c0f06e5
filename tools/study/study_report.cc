#include "tools/study/study_report.h"

#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

// Of Table 2.
struct PaperFigures {
  double random = 0, observed = 0;
  double lift() const { return observed / random - 1; }
};

struct CouplingRow {
  const char* name;
  const char* title;
  const CouplingResult& result;
  std::optional<PaperFigures> paper;
};

std::array<CouplingRow, 4> Rows(const CouplingResults& results) {
  return {
      {{"entropy_at_waad_peaks", "entropy at WAAD peaks", results.entropy_at_waad_peaks, PaperFigures{0.2386, 0.3608}},
       {"receiver_peak_is_fai_peak", "receiver peak is a FAI peak", results.receiver_peak_is_fai_peak,
        PaperFigures{0.2241, 0.6084}},
       {"receiver_peak_is_other_peak", "  FAI without receiver heads", results.receiver_peak_is_other_peak,
        std::nullopt},
       {"fai_peak_follows_waad", "FAI peak at or after a WAAD peak", results.fai_peak_follows_waad,
        PaperFigures{0.3687, 0.5253}}}};
}

Json Figures(const Interval& interval) {
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

Json Pairs(const PairedResult& result) {
  if (result.responses == 0) return nullptr;
  return {{"responses", result.responses},
          {"jaccard_high_fai", Figures(result.high)},
          {"jaccard_low_fai", Figures(result.low)},
          {"difference", Figures(result.difference)},
          {"high_fai_lower_share", Figures(result.lower_share)},
          {"ties", result.ties},
          {"baseline", Figures(result.baseline)},
          {"p_value", result.p_value}};
}

Json Comparison(const PerturbComparison& comparison) {
  return {{"words", Pairs(comparison.words)},
          {"tokens", Pairs(comparison.tokens)},
          {"place_high_fai", comparison.high_place},
          {"place_low_fai", comparison.low_place},
          {"entropy_high_fai", comparison.high_entropy},
          {"entropy_low_fai", comparison.low_entropy}};
}

std::string Text(const Interval& interval) {
  return absl::StrFormat("%.3f [%.3f, %.3f]", interval.value, interval.low, interval.high);
}

std::string Percent(const Interval& interval) {
  return absl::StrFormat("%+.1f %% [%+.1f, %+.1f]", 100 * interval.value, 100 * interval.low, 100 * interval.high);
}

}  // namespace

Json CouplingsJson(const CouplingResults& results) {
  Json json = Json::object();
  for (const CouplingRow& row : Rows(results)) {
    Json& one = json[row.name] = nullptr;
    if (row.result.responses == 0) continue;
    one = {{"responses", row.result.responses},
           {"picks", row.result.picks},
           {"pick_share", row.result.pick_share},
           {"observed", Figures(row.result.observed)},
           {"baseline", Figures(row.result.baseline)},
           {"lift", Figures(row.result.lift)},
           {"p_value", row.result.p_value}};
    if (row.paper.has_value()) {
      one["paper"] = {{"random", row.paper->random}, {"observed", row.paper->observed}, {"lift", row.paper->lift()}};
    }
  }
  return json;
}

std::string CouplingsTable(const CouplingResults& results) {
  std::string table = absl::StrFormat("%-34s %-24s %-24s %-26s %-8s %s\n", "", "observed [95 %]", "shifted [95 %]",
                                      "lift [95 %]", "p", "paper's lift");
  for (const CouplingRow& row : Rows(results)) {
    if (row.result.responses == 0) {
      absl::StrAppend(&table, absl::StrFormat("%-34s none\n", row.title));
      continue;
    }
    const std::string paper = row.paper.has_value() ? absl::StrFormat("%+.1f %%", 100 * row.paper->lift()) : "none";
    absl::StrAppend(&table,
                    absl::StrFormat("%-34s %-24s %-24s %-26s %-8.4f %s\n", row.title, Text(row.result.observed),
                                    Text(row.result.baseline), Percent(row.result.lift), row.result.p_value, paper));
  }
  return table;
}

Json PerturbJson(const PerturbResult& result) {
  return {{"replaced", result.places},
          {"no_runner_up", result.no_runner_up},
          {"runner_up_stops", result.stops},
          {"matched", Comparison(result.matched)},
          {"lowest", Comparison(result.lowest)},
          {"paper", {{"jaccard_high_fai", 0.534}, {"jaccard_low_fai", 0.631}, {"high_fai_lower_share", 0.8714}}}};
}

std::string PerturbTable(const PerturbResult& result) {
  std::string table = absl::StrFormat("%-30s %-24s %-24s %-26s %-24s %s\n", "Jaccard", "FAI peak [95 %]",
                                      "low FAI [95 %]", "difference [95 %]", "peak lower [95 %]", "p");
  const auto row = [&](const char* title, const PairedResult& pairs) {
    if (pairs.responses == 0) {
      absl::StrAppend(&table, absl::StrFormat("%-30s none\n", title));
      return;
    }
    absl::StrAppend(&table,
                    absl::StrFormat("%-30s %-24s %-24s %-26s %-24s %.4f\n", title, Text(pairs.high), Text(pairs.low),
                                    Text(pairs.difference), Text(pairs.lower_share), pairs.p_value));
  };
  row("words, low FAI nearby", result.matched.words);
  row("tokens, low FAI nearby", result.matched.tokens);
  row("words, lowest FAI", result.lowest.words);
  row("tokens, lowest FAI", result.lowest.tokens);
  absl::StrAppend(&table,
                  "paper, lowest FAI              0.534                    0.631                    -0.097"
                  "                     0.871\n");
  return table;
}

}  // namespace tactus
