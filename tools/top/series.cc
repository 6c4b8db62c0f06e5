#include "tools/top/series.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace tactus::top {
namespace {

constexpr size_t kMaxSamples = 100'000;
constexpr double kNoData = std::numeric_limits<double>::quiet_NaN();

// `a="x",b="y"}` up to and with the brace, taken off the front of `rest`. False: malformed.
bool TakeLabels(absl::string_view& rest, std::map<std::string, std::string>& labels) {
  while (!absl::ConsumePrefix(&rest, "}")) {
    const size_t equals = rest.find("=\"");
    if (equals == absl::string_view::npos || equals == 0) return false;
    const std::string name(absl::StripAsciiWhitespace(rest.substr(0, equals)));
    rest.remove_prefix(equals + 2);
    std::string value;
    for (;;) {
      if (rest.empty()) return false;
      char c = rest.front();
      rest.remove_prefix(1);
      if (c == '"') break;
      if (c == '\\') {
        if (rest.empty()) return false;
        c = rest.front() == 'n' ? '\n' : rest.front();
        rest.remove_prefix(1);
      }
      value += c;
    }
    labels[name] = std::move(value);
    absl::ConsumePrefix(&rest, ",");
  }
  return true;
}

std::optional<Sample> ParseLine(absl::string_view line) {
  Sample sample;
  const size_t end = line.find_first_of("{ ");
  if (end == absl::string_view::npos || end == 0) return std::nullopt;
  sample.metric = std::string(line.substr(0, end));
  absl::string_view rest = line.substr(end);
  if (absl::ConsumePrefix(&rest, "{") && !TakeLabels(rest, sample.labels)) return std::nullopt;
  rest = absl::StripAsciiWhitespace(rest);
  rest = rest.substr(0, rest.find(' '));  // a timestamp may follow
  if (!absl::SimpleAtod(rest, &sample.value)) return std::nullopt;
  return sample;
}

std::string LabelOf(const std::map<std::string, std::string>& labels, absl::string_view name) {
  const auto it = labels.find(std::string(name));
  return it == labels.end() ? "" : it->second;
}

bool Matches(const Term& term, const std::map<std::string, std::string>& labels) {
  return term.label.empty() || LabelOf(labels, term.label) == term.value;
}

std::string KeyOf(const std::map<std::string, std::string>& labels) {
  std::string key;
  for (const auto& [name, value] : labels) absl::StrAppend(&key, name, "=", value, "\n");
  return key;
}

// As Prometheus' histogram_quantile: linear inside a bucket, whose counts are cumulative.
double QuantileOf(double q, const std::map<double, double>& cumulative) {
  if (cumulative.empty() || !std::isinf(cumulative.rbegin()->first)) return kNoData;
  const double total = cumulative.rbegin()->second;
  if (total <= 0) return kNoData;
  double below_bound = 0, below_count = 0;
  for (const auto& [bound, count] : cumulative) {
    if (count >= q * total) {
      if (std::isinf(bound)) return below_bound;
      if (bound <= 0 && below_count == 0) return bound;  // the first bucket has no lower end
      return below_bound + (bound - below_bound) * (q * total - below_count) / std::max(count - below_count, 1e-300);
    }
    below_bound = bound, below_count = count;
  }
  return kNoData;
}

double BoundOf(const std::string& le) {
  double bound = kNoData;
  return absl::SimpleAtod(le, &bound) ? bound : kNoData;
}

}  // namespace

absl::StatusOr<std::vector<Sample>> ParseExposition(absl::string_view text) {
  std::vector<Sample> samples;
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    std::optional<Sample> sample = ParseLine(line);
    if (!sample) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " is no sample of a metric: expected `name{label=\"value\"} number`."));
    }
    if (samples.size() == kMaxSamples)
      return absl::InvalidArgumentError(absl::StrCat("there are more than ", kMaxSamples, " samples."));
    samples.push_back(std::move(*sample));
  }
  return samples;
}

void SeriesWindow::Add(double time_s, std::vector<Sample> samples) {
  snapshots_.push_back({time_s, std::move(samples)});
  while (snapshots_.size() > 2 && snapshots_.front().time_s < time_s - window_s_) snapshots_.pop_front();
}

std::vector<SeriesWindow::Increase> SeriesWindow::Increases(absl::string_view metric, const Term& term) const {
  struct Seen {
    Increase increase;
    double first_s = 0, last = 0;
  };
  std::map<std::string, Seen> series;
  for (const Snapshot& snapshot : snapshots_) {
    for (const Sample& sample : snapshot.samples) {
      if (sample.metric != metric || !Matches(term, sample.labels)) continue;
      const auto [it, first] = series.try_emplace(KeyOf(sample.labels));
      Seen& seen = it->second;
      if (first) {
        seen.increase.labels = sample.labels;
        seen.first_s = snapshot.time_s;
      } else {
        seen.increase.amount += sample.value >= seen.last ? sample.value - seen.last : sample.value;
        seen.increase.seconds = snapshot.time_s - seen.first_s;
      }
      seen.last = sample.value;
    }
  }
  std::vector<Increase> increases;
  for (auto& [key, seen] : series) {
    if (seen.increase.seconds > 0) increases.push_back(std::move(seen.increase));
  }
  return increases;
}

PanelValues SeriesWindow::Rates(const Term& term, absl::string_view by) const {
  PanelValues values;
  for (const Increase& increase : Increases(term.metric, term))
    values[by.empty() ? "" : LabelOf(increase.labels, by)] += increase.amount / increase.seconds;
  return values;
}

PanelValues SeriesWindow::Quantiles(const Term& term, absl::string_view by) const {
  std::map<std::string, std::map<double, double>> buckets;
  for (const Increase& increase : Increases(absl::StrCat(term.metric, "_bucket"), term)) {
    const double bound = BoundOf(LabelOf(increase.labels, "le"));
    if (!std::isnan(bound)) buckets[by.empty() ? "" : LabelOf(increase.labels, by)][bound] += increase.amount;
  }
  PanelValues values;
  for (const auto& [label, cumulative] : buckets) values[label] = QuantileOf(term.quantile, cumulative);
  return values;
}

PanelValues SeriesWindow::Newest(const Term& term, absl::string_view by) const {
  PanelValues values;
  std::map<std::string, int> counts;
  if (snapshots_.empty()) return values;
  for (const Sample& sample : snapshots_.back().samples) {
    if (sample.metric != term.metric || !Matches(term, sample.labels)) continue;
    if (term.kind == Term::Kind::kAge && sample.value <= 0) continue;  // it has not happened yet
    const std::string label = by.empty() ? "" : LabelOf(sample.labels, by);
    const int count = ++counts[label];
    double& value = values[label];
    if (term.fold == Term::Fold::kMax) {
      value = count == 1 ? sample.value : std::max(value, sample.value);
    } else {
      value += sample.value;
    }
  }
  for (auto& [label, value] : values) {
    if (term.fold == Term::Fold::kMean) value /= counts[label];
    if (term.kind == Term::Kind::kAge) value = snapshots_.back().time_s - value;
  }
  return values;
}

PanelValues SeriesWindow::Evaluate(const Term& term, absl::string_view by) const {
  switch (term.kind) {
    case Term::Kind::kRate:
      return Rates(term, by);
    case Term::Kind::kQuantile:
      return Quantiles(term, by);
    case Term::Kind::kNone:
    case Term::Kind::kValue:
    case Term::Kind::kAge:
      break;
  }
  return Newest(term, by);
}

PanelValues SeriesWindow::Evaluate(const Panel& panel) const {
  PanelValues values = Evaluate(panel.over, panel.by);
  double divisor = 1;
  if (panel.under.kind != Term::Kind::kNone) {
    const PanelValues under = Evaluate(panel.under, "");
    if (under.empty()) return {};
    divisor = under.begin()->second;
  }
  for (auto& [label, value] : values) value = value / divisor * panel.scale;
  return values;
}

}  // namespace tactus::top
