#include "tests/metrics/exposition_check.h"

#include <algorithm>
#include <regex>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/metrics/process_metrics.h"

namespace tactus {
namespace {

// The name without the suffix that a histogram's series carry.
std::string FamilyOf(const std::string& series, const std::map<std::string, ExposedFamily>& families) {
  for (const char* suffix : {"_bucket", "_sum", "_count"}) {
    const std::string stem(absl::StripSuffix(series, suffix));
    const auto found = families.find(stem);
    if (stem != series && found != families.end() && found->second.type == "histogram") return stem;
  }
  return series;
}

std::map<std::string, std::string> LabelsOf(const std::string& text) {
  static const std::regex kLabel(R"(([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)\")");
  std::map<std::string, std::string> labels;
  for (std::sregex_iterator it(text.begin(), text.end(), kLabel), end; it != end; ++it) labels[(*it)[1]] = (*it)[2];
  return labels;
}

const char* TypeName(MetricType type) {
  return type == MetricType::kCounter ? "counter" : type == MetricType::kGauge ? "gauge" : "histogram";
}

void CheckUnit(const MetricSpec& spec, std::vector<std::string>& problems) {
  const absl::string_view stem = absl::StripSuffix(spec.name, "_total");
  if (*spec.unit != '\0' && !absl::EndsWith(stem, absl::StrCat("_", spec.unit))) {
    problems.push_back(absl::StrCat(spec.name, ": its unit ", spec.unit, " must stand last"));
  }
  for (const char* unit : {"seconds", "bytes", "ratio", "nats", "tokens", "versions", "flops"}) {
    if (absl::EndsWith(stem, absl::StrCat("_", unit)) && !absl::StrContains(spec.unit, unit)) {
      problems.push_back(absl::StrCat(spec.name, ": it ends with ", unit, " and the table does not say so"));
    }
  }
  for (const char* word :
       {"percent", "_ms", "milli", "micro", "_kib", "_mib", "_gib", "_kb", "_mb", "_gb", "minutes", "hours", ":"}) {
    if (absl::StrContains(spec.name, word)) problems.push_back(absl::StrCat(spec.name, ": ", word, " is no base unit"));
  }
}

void CheckLabels(const MetricSpec& spec, std::vector<std::string>& problems) {
  static const std::regex kName("[a-z][a-z0-9_]*");
  std::set<std::string> names;
  for (const std::string& name : LabelNames(spec)) {
    if (name == "le" || name == "quantile" || name == "job" || name == "instance" || !std::regex_match(name, kName)) {
      problems.push_back(absl::StrCat(spec.name, ": a label may not be called ", name));
    }
    if (!names.insert(name).second) problems.push_back(absl::StrCat(spec.name, ": two labels are called ", name));
  }
  if ((spec.labels.name == nullptr) != spec.labels.values.empty()) {
    problems.push_back(absl::StrCat(spec.name, ": a closed label and its values belong together"));
  }
  std::set<std::string> values;
  for (const char* value : spec.labels.values) {
    if (!values.insert(value).second || *value == '\0') {
      problems.push_back(absl::StrCat(spec.name, ": the label value \"", value, "\" is empty or there twice"));
    }
  }
}

void CheckFamily(const std::string& name, const ExposedFamily& family, const MetricSpec& spec,
                 std::vector<std::string>& problems) {
  if (family.type != TypeName(spec.type)) problems.push_back(absl::StrCat(name, " is a ", family.type));
  if (family.help != spec.help) problems.push_back(absl::StrCat(name, " has another help: ", family.help));
  const bool open = spec.labels.open != nullptr;  // of each of its values there are some of the series
  std::set<std::string> expected_names, expected_values(spec.labels.values.begin(), spec.labels.values.end()), values;
  for (const std::string& label : LabelNames(spec)) expected_names.insert(label);
  for (const auto& labels : family.series) {
    std::set<std::string> names;
    for (const auto& [label, value] : labels) {
      names.insert(label);
      if (spec.labels.name != nullptr && label == spec.labels.name) values.insert(value);
    }
    if (names != expected_names) problems.push_back(absl::StrCat(name, " has a series with other labels"));
  }
  const bool right = open ? std::ranges::includes(expected_values, values) : values == expected_values;
  if (!right) problems.push_back(absl::StrCat(name, " has other label values than the table"));
  if (!open && family.series.size() != std::max<size_t>(1, expected_values.size())) {
    problems.push_back(absl::StrCat(name, " has ", family.series.size(), " series"));
  }
  if (spec.type == MetricType::kHistogram && family.bounds.size() != spec.buckets.size() + 1) {
    problems.push_back(absl::StrCat(name, " has ", family.bounds.size(), " buckets"));
  }
}

}  // namespace

std::map<std::string, ExposedFamily> ParseExposition(const std::string& text) {
  std::map<std::string, ExposedFamily> families;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 3));
    if (absl::StartsWith(line, "# HELP ")) {
      families[words.at(2)].help = words.size() > 3 ? words[3] : "";
    } else if (absl::StartsWith(line, "# TYPE ")) {
      families[words.at(2)].type = words.at(3);
    } else if (!line.empty() && line[0] != '#') {
      const std::string name = line.substr(0, line.find_first_of("{ "));
      const std::string stem = FamilyOf(name, families);
      const size_t brace = line.find('{'), close = line.rfind('}');
      std::map<std::string, std::string> labels;
      if (brace != std::string::npos) labels = LabelsOf(line.substr(brace, close - brace));
      ExposedFamily& family = families[stem];
      if (absl::EndsWith(name, "_bucket") && name != stem) family.bounds.insert(labels["le"]);
      if (name != stem && !absl::EndsWith(name, "_count")) continue;
      double value = 0;
      (void)absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value);
      family.series.push_back(std::move(labels));
      family.values.push_back(value);
    }
  }
  return families;
}

std::vector<std::string> TableProblems(std::span<const MetricSpec> table) {
  static const std::regex kName("tactus_[a-z][a-z0-9_]*[a-z0-9]");
  std::vector<std::string> problems;
  std::set<std::string> names;
  for (const MetricSpec& spec : table) {
    const std::string name = spec.name, help = spec.help;
    if (!names.insert(name).second) problems.push_back(absl::StrCat(name, " stands there twice"));
    if (!std::regex_match(name, kName)) problems.push_back(absl::StrCat(name, " is no name of ours"));
    if (absl::EndsWith(name, "_total") != (spec.type == MetricType::kCounter)) {
      problems.push_back(absl::StrCat(name, ": counters, and only they, end with _total"));
    }
    for (const char* suffix : {"_count", "_sum", "_bucket"}) {
      if (absl::EndsWith(name, suffix)) problems.push_back(absl::StrCat(name, " ends like a histogram's series"));
    }
    if ((spec.type == MetricType::kHistogram) == spec.buckets.empty()) {
      problems.push_back(absl::StrCat(name, ": histograms, and only they, have buckets"));
    }
    for (size_t i = 1; i < spec.buckets.size(); ++i) {
      if (!(spec.buckets[i - 1] < spec.buckets[i])) problems.push_back(absl::StrCat(name, ": buckets must rise"));
    }
    if (help.size() < 15 || help.back() != '.' || absl::StrContains(help, "\n") || absl::StrContains(help, "|")) {
      problems.push_back(absl::StrCat(name, ": its help must be a sentence on one line"));
    }
    CheckUnit(spec, problems);
    CheckLabels(spec, problems);
  }
  return problems;
}

std::vector<std::string> ExpositionProblems(const std::string& text, ProcessRole process,
                                            std::span<const MetricSpec> table) {
  std::vector<std::string> problems;
  std::map<std::string, ExposedFamily> families = ParseExposition(text);
  for (const MetricSpec& spec : table) {
    if (!Exposes(process, spec.scope)) continue;
    const auto found = families.find(spec.name);
    if (found == families.end()) {
      if (spec.labels.open == nullptr) problems.push_back(absl::StrCat(spec.name, " is missing"));
      continue;
    }
    CheckFamily(spec.name, found->second, spec, problems);
    families.erase(found);
  }
  for (const ProcessMetricSpec& spec : ProcessMetricTable()) {
    const auto found = families.find(spec.name);
    if (found == families.end() || found->second.type != TypeName(spec.type) || found->second.help != spec.help) {
      problems.push_back(absl::StrCat(spec.name, " is missing, or of another type or help"));
    }
    families.erase(spec.name);
  }
  for (const auto& [name, family] : families) problems.push_back(absl::StrCat(name, " is not in the table"));
  return problems;
}

}  // namespace tactus
