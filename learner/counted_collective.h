// A collective that counts what fails.
#pragma once

#include <memory>
#include <utility>

#include "common/collective/collective.h"
#include "common/metrics/metric_set.h"

namespace tactus {

// Passes every call on. `metrics` must outlive it.
class CountedCollective final : public Collective {
 public:
  CountedCollective(std::unique_ptr<Collective> inner, MetricSet* metrics)
      : inner_(std::move(inner)), metrics_(metrics) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }
  absl::Status StartAllReduceSum(std::span<float> values) override { return Count(inner_->StartAllReduceSum(values)); }
  absl::Status StartReduceScatterSum(std::span<float> values) override {
    return Count(inner_->StartReduceScatterSum(values));
  }
  absl::Status StartAllGather(std::span<char> values, size_t element_bytes) override {
    return Count(inner_->StartAllGather(values, element_bytes));
  }
  absl::Status Wait() override { return Count(inner_->Wait()); }
  absl::Status AllReduceSum(std::span<double> values) override { return Count(inner_->AllReduceSum(values)); }
  absl::Status Broadcast(std::span<char> bytes, int root) override { return Count(inner_->Broadcast(bytes, root)); }
  absl::Status Barrier() override { return Count(inner_->Barrier()); }
  void Abort() override { inner_->Abort(); }

 private:
  absl::Status Count(absl::Status status) {
    if (!status.ok()) metrics_->Add(Metric::kCollectiveAborts, 1);
    return status;
  }

  const std::unique_ptr<Collective> inner_;
  MetricSet* const metrics_;
};

}  // namespace tactus
