// The actor's side of proto/weight_service.proto: fetches the newest weights, whole and verified, or not at all. It
// keeps the bytes of the last bfloat16 set, 2 a parameter, so that the next one can come as what has changed since.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/data/types.h"
#include "common/model/folder/model_config.h"
#include "common/weights/weight_assembler.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace tactus {

// Fetch is for one thread at a time; Close may be called from any. `calibrated_heads`: of the head classes that come
// with the weights; 0: none may come.
class WeightReceiver {
 public:
  WeightReceiver(std::shared_ptr<grpc::Channel> channel, std::string run_id, std::string actor_id,
                 ParameterLayout layout, int calibrated_heads = 0);
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

  // Ends a blocked Fetch, and every later one, with Cancelled. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // A set as it came, for a delta to be applied to.
  struct Held {
    PolicyVersion version;
    std::vector<uint16_t> numbers;
  };
  struct Stream;

  absl::StatusOr<ReceivedWeights> ReadAll(Stream& stream, const std::string& machine, PolicyVersion at_least);
  absl::StatusOr<ReceivedWeights> ReadSet(Stream& stream, const WeightManifest& manifest);
  absl::StatusOr<ReceivedWeights> ReadDelta(Stream& stream, const WeightManifest& manifest);

  const std::shared_ptr<grpc::Channel> channel_;
  const std::string run_id_;
  const std::string actor_id_;
  const ParameterLayout layout_;
  const int calibrated_heads_;
  std::optional<Held> held_;  // the fetching thread's

  absl::Mutex mu_;
  grpc::ClientContext* call_ ABSL_GUARDED_BY(mu_) = nullptr;  // of the Fetch that is running
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace tactus
