#include "actor/grpc_weight_source.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/rollout/grpc_channel.h"
#include "common/weights/grpc_weight_receiver.h"

namespace tactus {
namespace {

// Longest time between two looks at whether the source is closed; a new version ends the wait at once.
constexpr absl::Duration kSlice = absl::Milliseconds(200);
// A set that has begun to arrive may take this long.
constexpr absl::Duration kFetchTimeout = absl::Minutes(10);

class GrpcWeightSource final : public WeightSource {
 public:
  GrpcWeightSource(std::unique_ptr<WeightReceiver> receiver, RolloutPort* port, MetricSet* metrics, bool reads_shared)
      : receiver_(std::move(receiver)),
        port_(port),
        metrics_(metrics),
        machine_(reads_shared ? ThisMachine() : std::string()) {}

  absl::StatusOr<std::optional<NewWeights>> Fetch(std::optional<PolicyVersion> held, absl::Duration timeout) override {
    const absl::Time deadline = MonotonicNow() + timeout;
    std::optional<PolicyVersion> latest;
    while (!latest.has_value()) {
      if (closed_) return absl::CancelledError("the weight source is closed");
      if (MonotonicNow() >= deadline) return std::optional<NewWeights>();
      ASSIGN_OR_RETURN(latest, port_->AwaitVersion(held, std::min(kSlice, deadline - MonotonicNow())));
    }
    const absl::Time start = MonotonicNow();
    ASSIGN_OR_RETURN(ReceivedWeights received, receiver_->Fetch(*latest, kFetchTimeout, machine_));
    if (metrics_ != nullptr) {
      metrics_->Observe(Metric::kWeightLoadDuration, SecondsSince(start));
      metrics_->Add(Metric::kWeightTransferBytes, static_cast<double>(received.wire_bytes));
    }
    return NewWeights{.version = received.version,
                      .parameters = std::move(received.flat),
                      .head_classes = std::move(received.head_classes),
                      .shared = std::move(received.shared)};
  }

  void DeclineShared() override { machine_.clear(); }

  void Close() override {
    closed_ = true;
    receiver_->Close();
  }

 private:
  const std::unique_ptr<WeightReceiver> receiver_;
  RolloutPort* const port_;
  MetricSet* const metrics_;
  std::string machine_;  // empty: weights come in chunks
  std::atomic<bool> closed_{false};
};

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> MakeGrpcWeightSource(const GrpcWeightSourceOptions& options,
                                                                   RolloutPort* port) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(options.address, options.security));
  return std::make_unique<GrpcWeightSource>(
      std::make_unique<WeightReceiver>(std::move(channel), options.run_id, options.actor_id, options.layout,
                                       options.calibrated_heads),
      port, options.metrics, options.reads_shared);
}

}  // namespace tactus
