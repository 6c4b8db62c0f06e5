// The learner's end of one actor's stream: reads and writes messages one at a time, puts chunks together, enforces the
// protocol's order and credits. What messages mean is its owner's business.
//
// All state is guarded by the owner's mutex; gRPC's threads take it for every event. A stream deletes itself when gRPC
// is done with it; the owner forgets it in OnClosed.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/rollout_service.pb.h"

namespace tactus {

class RolloutStream;

// Every method is called with mu() held. An error ends the stream with it.
class RolloutStreamOwner {
 public:
  virtual ~RolloutStreamOwner() = default;
  virtual absl::Mutex& mu() = 0;
  virtual absl::Status OnHello(RolloutStream& stream, const wire::Hello& hello) = 0;
  virtual absl::Status OnLeaseRequest(RolloutStream& stream, const wire::LeaseRequest& request) = 0;
  virtual void OnHeartbeat(RolloutStream& stream, const wire::Heartbeat& heartbeat) = 0;
  virtual void OnGroup(RolloutStream& stream, uint64_t sequence, std::vector<std::string> pieces) = 0;
  // The stream broke the protocol and is being ended with `status`.
  virtual void OnViolation(RolloutStream& stream, const absl::Status& status) = 0;
  virtual void OnClosed(RolloutStream& stream) = 0;
};

class RolloutStream final : public grpc::ServerBidiReactor<wire::ActorMessage, wire::LearnerMessage> {
 public:
  RolloutStream(RolloutStreamOwner& owner, grpc::CallbackServerContext* context, uint64_t id, size_t max_group_bytes,
                uint32_t submit_credits);

  // The rest is called with the owner's mutex held.
  void Begin();
  // Queues a message; a NewVersion or LeasesEnded takes the place of one not yet written (leases that ended are named
  // again when the actor does). What an actor can make us queue is bounded by its credits and by how many lease
  // requests the owner accepts.
  void Send(wire::LearnerMessage message);
  // Acknowledges one submission and gives its credit back.
  void SendSubmitReply(uint64_t sequence, const absl::Status& status);
  // Ends the stream once everything queued is written. Only the first call counts.
  void Close(const absl::Status& status);
  // Ends it at once.
  void Abort();
  // Ends it when it has not said hello, or not read our last words, 10 s after the first such call.
  void AbortIfStuck(absl::Duration now);

  uint64_t id() const { return id_; }
  const std::string& actor_id() const { return actor_id_; }  // empty before a hello was accepted
  std::string peer() const { return context_->peer(); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  absl::Status Handle();
  absl::Status HandleChunk(wire::SubmitChunk& chunk);
  void Advance();  // starts the next write, or finishes

  RolloutStreamOwner& owner_;
  grpc::CallbackServerContext* const context_;
  const uint64_t id_;
  const size_t max_group_bytes_;

  // Guarded by owner_.mu().
  std::string actor_id_;
  wire::ActorMessage in_;
  wire::LearnerMessage out_;
  std::deque<wire::LearnerMessage> queue_;
  bool writing_ = false;
  bool read_failed_ = false;
  bool finished_ = false;  // Finish was called; a second call would abort the process
  std::optional<absl::Status> closing_;
  std::optional<absl::Duration> stuck_since_;
  uint32_t credits_;
  uint64_t last_sequence_ = 0;
  uint32_t next_chunk_ = 0;         // of last_sequence_; 0 = between groups
  std::vector<std::string> group_;  // its chunks so far
  size_t group_bytes_ = 0;
};

}  // namespace tactus
