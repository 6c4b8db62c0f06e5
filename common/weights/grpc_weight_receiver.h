// The actor's side of proto/weight_service.proto: fetches weights, whole and verified, or not at all. What has come of
// a version when a connection ends is kept, and continued by the next Fetch for it, wherever that goes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/model/folder/model_config.h"
#include "common/weights/incoming_weights.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace tactus {

// Another actor that passes weights on, and what the learner has announced that they are.
struct WeightParent {
  std::shared_ptr<grpc::Channel> channel;
  std::string manifest_digest;
};

// Fetches are for one thread at a time; Close may be called from any. `calibrated_heads`: of the head classes that come
// with the weights; 0: none may come.
class WeightReceiver {
 public:
  // A relay that is silent for so long is given up, and one that sends no weights for kRelayStall.
  static constexpr absl::Duration kRelaySilence = absl::Seconds(3);
  static constexpr absl::Duration kRelayStall = absl::Seconds(60);

  // `channel` leads to the learner. `relay` passes on what comes, and outlives this; null: nobody does.
  WeightReceiver(std::shared_ptr<grpc::Channel> channel, std::string run_id, std::string actor_id,
                 ParameterLayout layout, int calibrated_heads = 0, WeightRelay* relay = nullptr);
  ~WeightReceiver();

  // Blocks up to `timeout` for the newest set, at least `at_least`. The caller retries, after a pause, on
  //   Unavailable        the learner cannot be reached, or has nothing so new yet
  //   DeadlineExceeded   it took too long
  //   DataLoss           a hash was wrong or the stream ended early
  // and gives up on
  //   FailedPrecondition another run;  InvalidArgument another model, or a broken stream;  Cancelled after Close.
  // `machine` not empty: the caller can also copy them from GPU memory of that machine (ReceivedWeights::shared).
  absl::StatusOr<ReceivedWeights> Fetch(PolicyVersion at_least, absl::Duration timeout, const std::string& machine = "")
      ABSL_LOCKS_EXCLUDED(mu_);

  // The same from a relay: exactly `version`, as announced. Nothing that a relay does is a reason to give up:
  // InvalidArgument, FailedPrecondition and DataLoss mean that it, or one behind it, is not to be believed; with all
  // others, but for Cancelled after Close, it can't help now.
  absl::StatusOr<ReceivedWeights> FetchFrom(const WeightParent& parent, PolicyVersion version, absl::Duration timeout)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Bytes of weights that relays have sent; any thread.
  uint64_t bytes_from_relays() const { return bytes_from_relays_; }

  // Ends a blocked Fetch, and every later one, with Cancelled. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Want {
    PolicyVersion version;
    std::string machine;
    const WeightParent* parent = nullptr;  // null: the learner
  };
  struct Call;

  absl::StatusOr<ReceivedWeights> Run(const Want& want, absl::Duration timeout);
  absl::StatusOr<ReceivedWeights> ReadAll(Call& call, const Want& want);
  absl::Status CheckManifest(const WeightManifest& manifest, const Want& want) const;

  const std::shared_ptr<grpc::Channel> channel_;
  const std::string run_id_;
  const std::string actor_id_;
  const ParameterLayout layout_;
  const int calibrated_heads_;
  WeightRelay* const relay_;
  IncomingWeights incoming_;  // the fetching thread's
  std::atomic<uint64_t> bytes_from_relays_{0};

  absl::Mutex mu_;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mu_) = nullptr;  // of the Fetch that is running
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace tactus
