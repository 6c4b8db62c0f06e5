#include "actor/grpc_weight_source.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/rollout/grpc_channel.h"
#include "common/weights/grpc_weight_receiver.h"

namespace tactus {
namespace {

// Longest time between two looks at whether the source is closed; a new version ends the wait at once.
constexpr absl::Duration kSlice = absl::Milliseconds(200);
// Between two looks at whether a version that is known is announced.
constexpr absl::Duration kLook = absl::Milliseconds(20);
// A set that has begun to arrive may take this long.
constexpr absl::Duration kFetchTimeout = absl::Minutes(10);

// What a relay's answer says about it, or about one behind it.
bool NotToBeBelieved(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
}

class GrpcWeightSource final : public WeightSource {
 public:
  GrpcWeightSource(std::unique_ptr<WeightReceiver> receiver, RolloutPort* port, const GrpcWeightSourceOptions& options)
      : receiver_(std::move(receiver)),
        port_(port),
        metrics_(options.metrics),
        security_(options.security),
        relays_(options.relay != nullptr),
        machine_(options.reads_shared ? ThisMachine() : std::string()) {}

  absl::StatusOr<std::optional<NewWeights>> Fetch(std::optional<PolicyVersion> held, absl::Duration timeout) override {
    const absl::Time deadline = MonotonicNow() + timeout;
    std::optional<PolicyVersion> latest;
    while (!latest.has_value()) {
      if (closed_) return absl::CancelledError("the weight source is closed");
      if (MonotonicNow() >= deadline) return std::optional<NewWeights>();
      ASSIGN_OR_RETURN(latest, port_->AwaitVersion(held, std::min(kSlice, deadline - MonotonicNow())));
      // A learner that has just begun names its version before it has that version's weights. All would then wait for
      // them at the learner, which would send each the whole set: whom to ask comes with the weights.
      if (latest.has_value() && !Announced()) {
        absl::SleepFor(std::min(kLook, deadline - MonotonicNow()));
        latest.reset();
      }
    }
    const absl::Time start = MonotonicNow();
    absl::StatusOr<ReceivedWeights> fetched = FetchNewest(*latest);
    CountRelayed();
    RETURN_IF_ERROR(fetched.status());
    ReceivedWeights received = *std::move(fetched);
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
  bool Announced() const { return !relays_ || !machine_.empty() || !port_->NewestWeights().manifest_digest.empty(); }

  absl::StatusOr<ReceivedWeights> FetchNewest(PolicyVersion latest) {
    if (!machine_.empty()) {
      absl::StatusOr<ReceivedWeights> received = receiver_->Fetch(latest, kFetchTimeout, machine_);
      // A learner that did not share has not the GPU's memory to, or is on another machine.
      if (relays_ && received.ok() && !received->shared.has_value()) machine_.clear();
      return received;
    }
    WeightPath path = port_->NewestWeights();
    for (size_t next = 0; !closed_;) {
      if (path.manifest_digest.empty() || next == path.parents.size()) break;
      const std::string& address = path.parents[next++];
      absl::StatusOr<ReceivedWeights> received = FetchFrom(address, path);
      if (received.ok() || closed_) return received;
      TACTUS_LOG(WARNING) << "no weights from the relay at " << address << ": " << received.status().message();
      if (NotToBeBelieved(received.status())) break;
      WeightPath now = port_->NewestWeights();
      if (now.version == path.version) continue;
      path = std::move(now);
      next = 0;
    }
    return receiver_->Fetch(std::max(latest, path.version), kFetchTimeout);
  }

  absl::StatusOr<ReceivedWeights> FetchFrom(const std::string& address, const WeightPath& path) {
    std::erase_if(channels_, [&path](const auto& known) {
      return std::ranges::find(path.parents, known.first) == path.parents.end();
    });
    std::shared_ptr<grpc::Channel>& channel = channels_[address];
    if (channel == nullptr) {
      ASSIGN_OR_RETURN(const HostPort parsed, HostPort::Parse(address, "a relay's address"));
      ASSIGN_OR_RETURN(channel, OpenRelayChannel(parsed, security_));
    }
    return receiver_->FetchFrom({.channel = channel, .manifest_digest = path.manifest_digest}, path.version,
                                kFetchTimeout);
  }

  void CountRelayed() {
    const uint64_t now = receiver_->bytes_from_relays();
    if (metrics_ != nullptr) {
      metrics_->Add(Metric::kWeightRelayBytes, static_cast<double>(now - counted_relayed_), "received");
    }
    counted_relayed_ = now;
  }

  const std::unique_ptr<WeightReceiver> receiver_;
  RolloutPort* const port_;
  MetricSet* const metrics_;
  const ChannelSecurity security_;
  const bool relays_;                                               // this run does
  std::string machine_;                                             // empty: weights come in chunks
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;  // to relays, by address
  uint64_t counted_relayed_ = 0;
  std::atomic<bool> closed_{false};
};

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> MakeGrpcWeightSource(const GrpcWeightSourceOptions& options,
                                                                   RolloutPort* port) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(options.address, options.security));
  return std::make_unique<GrpcWeightSource>(
      std::make_unique<WeightReceiver>(std::move(channel), options.run_id, options.actor_id, options.layout,
                                       options.calibrated_heads, options.relay),
      port, options);
}

}  // namespace tactus
