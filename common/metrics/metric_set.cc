#include "common/metrics/metric_set.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <exception>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
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

bool Exposes(MetricRole process, MetricRole metric) { return metric == MetricRole::kBoth || metric == process; }

}  // namespace

struct MetricSet::Impl {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  // By metric, by position of the label's value in its spec (one entry when it has no label). Empty = another role's.
  std::vector<std::vector<Series>> series;

  Series* Find(Metric metric, absl::string_view label) {
    std::vector<Series>& all = series[static_cast<size_t>(metric)];
    const MetricSpec& spec = Spec(metric);
    if (spec.label == nullptr && label.empty() && !all.empty()) return &all.front();
    for (size_t i = 0; i < spec.values.size() && i < all.size(); ++i) {
      if (label == spec.values[i]) return &all[i];
    }
    return nullptr;
  }
  void Reject() { series[static_cast<size_t>(Metric::kMetricUpdatesRejected)].front().counter->Increment(); }
};

namespace {

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

MetricSet::MetricSet(const Options& options) : impl_(std::make_unique<Impl>()) {
  for (const MetricSpec& spec : MetricTable()) {
    std::vector<Series>& all = impl_->series.emplace_back();
    if (!Exposes(options.role, spec.role)) continue;
    prometheus::Labels labels;
    if (spec.by_task) labels["env"] = options.task;
    if (spec.id == Metric::kBuildInfo) {
      labels = {{"version", ThisBuild().version}, {"commit", ThisBuild().commit}, {"run", options.run_id}};
    }
    if (spec.label == nullptr) all.push_back(MakeSeries(impl_->registry.get(), spec, labels));
    for (const char* value : spec.values) {
      labels[spec.label] = value;
      all.push_back(MakeSeries(impl_->registry.get(), spec, labels));
    }
  }
  Set(Metric::kBuildInfo, 1);
}

MetricSet::~MetricSet() = default;

void MetricSet::Set(Metric metric, double value, absl::string_view label) {
  Series* series = impl_->Find(metric, label);
  if (series == nullptr || series->gauge == nullptr || !std::isfinite(value)) return impl_->Reject();
  series->gauge->Set(value);
}

void MetricSet::Add(Metric metric, double value, absl::string_view label) {
  Series* series = impl_->Find(metric, label);
  if (series == nullptr || series->counter == nullptr || !std::isfinite(value) || value < 0) return impl_->Reject();
  series->counter->Increment(value);
}

void MetricSet::Observe(Metric metric, double value, absl::string_view label) {
  Series* series = impl_->Find(metric, label);
  if (series == nullptr || series->histogram == nullptr || !std::isfinite(value)) return impl_->Reject();
  series->histogram->Observe(value);
}

std::string MetricSet::Text() const { return prometheus::TextSerializer().Serialize(impl_->registry->Collect()); }

struct MetricsServer::Impl {
  std::shared_ptr<ProcessMetrics> process = std::make_shared<ProcessMetrics>();
  std::unique_ptr<prometheus::Exposer> exposer;
};

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}
MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen, MetricSet* metrics) {
  auto impl = std::make_unique<Impl>();
  try {  // prometheus-cpp throws when the port is taken
    impl->exposer = std::make_unique<prometheus::Exposer>(listen, /*num_threads=*/2);
    impl->exposer->RegisterCollectable(metrics->impl_->registry);
    impl->exposer->RegisterCollectable(impl->process);
    const std::vector<int> ports = impl->exposer->GetListeningPorts();
    if (ports.empty()) return absl::UnavailableError(absl::StrCat("Metrics: cannot listen on ", listen, "."));
    std::string address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", ports.front());
    return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl), std::move(address)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("Metrics: cannot listen on ", listen, ": is the port taken or the address not this machine's?"));
  }
}

}  // namespace tactus
