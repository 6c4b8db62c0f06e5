#include "common/metrics/metric_docs.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/metrics/metric_table.h"
#include "common/metrics/process_metrics.h"
#include "common/metrics/step_record.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kHead[] = R"(# Metrics

Written by `metric_docs` from `common/metrics/metric_table.cc` and, for a learner step's numbers, `common/metrics/step_record.cc`;
do not edit. `docs/metrics.json` is the same for programs.

Every process serves `/metrics`, `/healthz` and `/readyz` on `service.metrics_listen`, in plain text without TLS: bind it
to an address that only Prometheus and the kubelet reach. In the column "by", L is learner rank 0, R every learner rank,
A an actor and P every process, and S learner rank 0 after a step. All series of a process exist from its start, at 0, but those
of a step: a number that has not been measured has no sample. Counters begin at 0 in every process, also in one that resumes a
run. A trajectory is one completion: a group of G counts as G.

GPUs are watched with NVIDIA's DCGM exporter: `DCGM_FI_DEV_GPU_UTIL`, `DCGM_FI_PROF_PIPE_TENSOR_ACTIVE`,
`DCGM_FI_DEV_FB_USED`, `DCGM_FI_DEV_XID_ERRORS`.
)";

const char* TypeName(MetricType type) {
  switch (type) {
    case MetricType::kCounter:
      return "counter";
    case MetricType::kGauge:
      return "gauge";
    case MetricType::kHistogram:
      return "histogram";
  }
  return "";
}

const char* ScopeLetter(const MetricSpec& spec) {
  if (spec.id == Metric::kCount) return "S";
  switch (spec.scope) {
    case MetricScope::kLearner:
      return "L";
    case MetricScope::kEveryRank:
      return "R";
    case MetricScope::kActor:
      return "A";
    case MetricScope::kEveryProcess:
      return "P";
  }
  return "";
}

std::string LabelsCell(const MetricSpec& spec) {
  std::vector<std::string> cells;
  for (const std::string& name : LabelNames(spec)) {
    const bool closed = spec.labels.name != nullptr && name == spec.labels.name;
    cells.push_back(closed ? absl::StrCat(name, " = ", absl::StrJoin(spec.labels.values, " \\| ")) : name);
  }
  return absl::StrJoin(cells, "; ");
}

Json LabelsJson(const MetricSpec& spec) {
  Json labels = Json::array();
  for (const std::string& name : LabelNames(spec)) {
    Json label = {{"name", name}};
    if (spec.labels.name != nullptr && name == spec.labels.name) label["values"] = spec.labels.values;
    labels.push_back(std::move(label));
  }
  return labels;
}

Json ProcessesJson(MetricScope scope) {
  Json names = Json::array();
  if (Exposes(ProcessRole::kLearner, scope)) names.push_back("learner");
  if (Exposes(ProcessRole::kFollower, scope)) names.push_back("follower");
  if (Exposes(ProcessRole::kActor, scope)) names.push_back("actor");
  return names;
}

// The keys of metrics.jsonl.
std::string StepNumbers() {
  std::string out =
      "\nNumbers of a learner step, as they stand in `metrics.jsonl` beside `step`, `version` and `time_s`, and in "
      "TensorBoard. "
      "One that was not\nmeasured is left out:\n\n| key | tag | Prometheus | meaning | absent if "
      "|\n|---|---|---|---|---|\n";
  for (const StepField& field : StepFields()) {
    const StepSeries& series = field.series;
    const std::string labels =
        series.label == nullptr ? "" : absl::StrCat("{", series.label, "=\"", series.value, "\"}");
    absl::StrAppend(&out, "| `", field.key, "` | `", TensorBoardTag(field), "` | ",
                    series.metric == nullptr ? "" : absl::StrCat("`", series.metric, labels, "`"), " | ", field.help,
                    " | ", field.absent == nullptr ? "" : field.absent, " |\n");
  }
  return out;
}

}  // namespace

std::string MetricsMarkdown() {
  std::string out = absl::StrCat(kHead, "\n| metric | type | by | labels | meaning |\n|---|---|---|---|---|\n");
  std::string buckets = "\nBuckets of the histograms:\n\n| metric | upper bounds |\n|---|---|\n";
  for (const MetricSpec& spec : EveryMetric()) {
    absl::StrAppend(&out, "| `", spec.name, "` | ", TypeName(spec.type), " | ", ScopeLetter(spec), " | ",
                    LabelsCell(spec), " | ", spec.help, " |\n");
    if (spec.type == MetricType::kHistogram) {
      absl::StrAppend(&buckets, "| `", spec.name, "` | ", absl::StrJoin(spec.buckets, ", "), " |\n");
    }
  }
  for (const ProcessMetricSpec& spec : ProcessMetricTable()) {
    absl::StrAppend(&out, "| `", spec.name, "` | ", TypeName(spec.type), " | P | | ", spec.help, " |\n");
  }
  return absl::StrCat(out, buckets, StepNumbers());
}

std::string MetricsJson() {
  Json metrics = Json::array();
  for (const MetricSpec& spec : EveryMetric()) {
    Json metric = {{"name", spec.name},
                   {"type", TypeName(spec.type)},
                   {"unit", spec.unit},
                   {"processes", ProcessesJson(spec.scope)},
                   {"labels", LabelsJson(spec)}};
    if (spec.type == MetricType::kHistogram) metric["buckets"] = spec.buckets;
    metric["help"] = spec.help;
    if (spec.title != nullptr) metric["title"] = spec.title;
    if (spec.id == Metric::kCount) metric["step"] = true;
    metrics.push_back(std::move(metric));
  }
  for (const ProcessMetricSpec& spec : ProcessMetricTable()) {
    metrics.push_back({{"name", spec.name},
                       {"type", TypeName(spec.type)},
                       {"unit", spec.unit},
                       {"processes", ProcessesJson(MetricScope::kEveryProcess)},
                       {"labels", Json::array()},
                       {"help", spec.help}});
  }
  // One metric a line, so that a difference shows the metric.
  std::string out = "{\"metrics\": [\n";
  for (size_t i = 0; i < metrics.size(); ++i) {
    absl::StrAppend(&out, metrics[i].dump(), i + 1 < metrics.size() ? ",\n" : "\n");
  }
  return absl::StrCat(out, "]}\n");
}

}  // namespace tactus
