#include "common/metrics/metric_set.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "common/metrics/build_info.h"
#include "common/metrics/process_metrics.h"

namespace tactus {
namespace {

struct Series {
  prometheus::Counter* counter = nullptr;
  prometheus::Gauge* gauge = nullptr;
  prometheus::Histogram* histogram = nullptr;
};

const MetricSpec& Spec(Metric metric) { return MetricTable()[static_cast<size_t>(metric)]; }

Series MakeSeries(prometheus::Registry* registry, const MetricSpec& spec, const prometheus::Labels& labels) {
  Series series;
  switch (spec.type) {
    case MetricType::kCounter:
      series.counter = &prometheus::BuildCounter().Name(spec.name).Help(spec.help).Register(*registry).Add(labels);
      break;
    case MetricType::kGauge:
      series.gauge = &prometheus::BuildGauge().Name(spec.name).Help(spec.help).Register(*registry).Add(labels);
      break;
    case MetricType::kHistogram:
      series.histogram = &prometheus::BuildHistogram().Name(spec.name).Help(spec.help).Register(*registry).Add(
          labels, prometheus::Histogram::BucketBoundaries(spec.buckets.begin(), spec.buckets.end()));
      break;
  }
  return series;
}

}  // namespace

struct MetricSet::Impl {
  prometheus::Registry registry;
  ProcessRole role = ProcessRole::kLearner;
  std::string task;
  // By metric, by position of the label's value in its spec (one entry when it has no label). Empty = another role's.
  std::vector<std::vector<Series>> series;

  Series* Find(Metric metric, absl::string_view label) {
    std::vector<Series>& all = series[static_cast<size_t>(metric)];
    const MetricSpec& spec = Spec(metric);
    if (spec.labels.name == nullptr && label.empty() && !all.empty()) return &all.front();
    for (size_t i = 0; i < spec.labels.values.size() && i < all.size(); ++i) {
      if (label == spec.labels.values[i]) return &all[i];
    }
    return nullptr;
  }
  void Count(Metric metric, absl::string_view label) { Find(metric, label)->counter->Increment(); }
  // The series to update with this value, or null: then the update is counted instead.
  Series* Accept(Metric metric, double value, absl::string_view label, MetricType type) {
    if (!std::isfinite(value)) {
      Count(Metric::kNonfiniteValues, "metric");
      return nullptr;
    }
    Series* found = Spec(metric).type == type ? Find(metric, label) : nullptr;
    if (found != nullptr && (type != MetricType::kCounter || value >= 0)) return found;
    Count(Metric::kMetricUpdatesRejected, "");
    return nullptr;
  }
  // Of a metric with an open label; a series that is there already is found again by its name and labels.
  std::optional<Series> AcceptOf(Metric metric, const std::string& open, double value, absl::string_view label,
                                 MetricType type) {
    const MetricSpec& spec = Spec(metric);
    if (!std::isfinite(value)) {
      Count(Metric::kNonfiniteValues, "metric");
      return std::nullopt;
    }
    const bool known = std::ranges::find(spec.labels.values, label) != spec.labels.values.end();
    if (spec.labels.open == nullptr || spec.type != type || !known || !Exposes(role, spec.scope) ||
        (type == MetricType::kCounter && value < 0)) {
      Count(Metric::kMetricUpdatesRejected, "");
      return std::nullopt;
    }
    prometheus::Labels labels = {{spec.labels.open, open}, {spec.labels.name, std::string(label)}};
    if (spec.labels.env) labels["env"] = task;
    return MakeSeries(&registry, spec, labels);
  }
};

MetricSet::MetricSet(const Options& options) : impl_(std::make_unique<Impl>()) {
  impl_->role = options.role;
  impl_->task = options.task;
  for (const MetricSpec& spec : MetricTable()) {
    std::vector<Series>& all = impl_->series.emplace_back();
    if (!Exposes(options.role, spec.scope) || spec.labels.open != nullptr) continue;
    prometheus::Labels labels;
    if (spec.labels.env) labels["env"] = options.task;
    if (spec.labels.rank) labels["rank"] = std::to_string(options.rank);
    if (spec.id == Metric::kBuildInfo) {
      labels = {{"version", ThisBuild().version},
                {"commit", ThisBuild().commit},
                {"torch", ThisBuild().torch},
                {"cuda", ThisBuild().cuda},
                {"run", options.run_id}};
    }
    if (spec.labels.name == nullptr) all.push_back(MakeSeries(&impl_->registry, spec, labels));
    for (const char* value : spec.labels.values) {
      labels[spec.labels.name] = value;
      all.push_back(MakeSeries(&impl_->registry, spec, labels));
    }
  }
  Set(Metric::kBuildInfo, 1);
}

MetricSet::~MetricSet() = default;

void MetricSet::Set(Metric metric, double value, absl::string_view label) {
  Series* series = impl_->Accept(metric, value, label, MetricType::kGauge);
  if (series != nullptr) series->gauge->Set(value);
}

void MetricSet::SetOf(Metric metric, const std::string& open, double value, absl::string_view label) {
  const std::optional<Series> series = impl_->AcceptOf(metric, open, value, label, MetricType::kGauge);
  if (series.has_value()) series->gauge->Set(value);
}

void MetricSet::AddOf(Metric metric, const std::string& open, double value, absl::string_view label) {
  const std::optional<Series> series = impl_->AcceptOf(metric, open, value, label, MetricType::kCounter);
  if (series.has_value()) series->counter->Increment(value);
}

void MetricSet::Add(Metric metric, double value, absl::string_view label) {
  Series* series = impl_->Accept(metric, value, label, MetricType::kCounter);
  if (series != nullptr) series->counter->Increment(value);
}

void MetricSet::Observe(Metric metric, double value, absl::string_view label) {
  Series* series = impl_->Accept(metric, value, label, MetricType::kHistogram);
  if (series != nullptr) series->histogram->Observe(value);
}

void MetricSet::SetStep(const StepRecord& record) {
  for (const StepField& field : StepFields()) {
    const double value = record.*field.member;
    if (field.series.metric == nullptr || !std::isfinite(value)) continue;
    prometheus::Labels labels;
    if (field.series.env) labels["env"] = impl_->task;
    if (field.series.label != nullptr) labels[field.series.label] = field.series.value;
    const auto spec = std::ranges::find(StepMetricTable(), absl::string_view(field.series.metric),
                                        [](const MetricSpec& one) { return absl::string_view(one.name); });
    // What is there already is found again by its name and labels.
    prometheus::BuildGauge().Name(spec->name).Help(spec->help).Register(impl_->registry).Add(labels).Set(value);
  }
}

std::string MetricSet::Text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  for (prometheus::MetricFamily& family : ProcessMetricFamilies()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace tactus
