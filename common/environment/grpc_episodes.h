// Holds an actor's conversations with a user's server: one call of Converse for each answer to a prompt, many at once.
//
// Nothing here waits for the server. What it says is taken by Poll, which also looks at the clocks: a reply that is
// late fails its episode, and an episode whose first turn has no reply yet is begun again, with pauses of at most a
// second, until its patience is over. Later on a failure is the episode's end, as the server's state is lost with its
// call.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/back_off.h"
#include "common/base/cond_var.h"
#include "common/base/host_port.h"
#include "common/base/log_limiter.h"
#include "common/environment/environment_codec.h"
#include "common/metrics/metric_set.h"
#include "common/rollout/channel_security.h"

namespace grpc {
class Channel;
class Status;
}  // namespace grpc

namespace tactus {

// Which answer: of a lease, and the how manyeth of its group.
struct EpisodeId {
  uint64_t lease_id = 0;
  int completion = 0;
  friend auto operator<=>(const EpisodeId&, const EpisodeId&) = default;  // NOLINT(modernize-use-nullptr)
};

// Thread-safe. An episode is Begun, then Say and a reply take turns until the reply has done or it fails, or it is
// Forgotten.
class Episodes {
 public:
  struct Options {
    absl::Duration reply_timeout;
    int calls_at_once = 1;         // others wait for a place before their first turn is sent
    MetricSet* metrics = nullptr;  // an actor's; null: nobody asks. Outlives this
  };
  struct Event {
    EpisodeId id;
    absl::StatusOr<EpisodeReply> reply;  // an error, as grpc_environment_client.h lists them, is the episode's end
  };

  // Connects when it is used. Errors are those of the security options (OpenEnvironmentChannel).
  static absl::StatusOr<std::unique_ptr<Episodes>> Create(const HostPort& address, const ChannelSecurity& security,
                                                          const Options& options);
  ~Episodes();

  // `patience`: how long the first turn may go without a reply, from the moment that it is first sent.
  void Begin(EpisodeId id, const EpisodeOpening& opening, absl::Duration patience) ABSL_LOCKS_EXCLUDED(mu_);
  void Say(EpisodeId id, const EpisodeTurn& turn) ABSL_LOCKS_EXCLUDED(mu_);
  void Stop(EpisodeId id, EpisodeLimit limit) ABSL_LOCKS_EXCLUDED(mu_);
  // Its call is cancelled, and nothing is heard of it any more. One that is not there is none's trouble.
  void Forget(EpisodeId id) ABSL_LOCKS_EXCLUDED(mu_);

  // What came since the last call. To be called often: when `notify` was, and a few times a second.
  std::vector<Event> Poll() ABSL_LOCKS_EXCLUDED(mu_);
  // Called from gRPC's threads when there is something to Poll. Set before the first episode; must not block.
  void Watch(std::function<void()> notify) { notify_ = std::move(notify); }

  absl::Duration reply_timeout() const { return options_.reply_timeout; }
  // What the newest reply failed with; empty when it did not.
  std::string Trouble() const ABSL_LOCKS_EXCLUDED(mu_);
  // Cancels every call and waits for their ends; `notify` is not called afterwards. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  class Call;
  struct Episode;
  struct Ending {  // has given its last reply: only the call's end is awaited
    Call* call = nullptr;
    absl::Time deadline;
  };

  Episodes(std::string address, std::shared_ptr<grpc::Channel> channel, const Options& options);

  void Ask(EpisodeId id, Episode& episode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartCall(EpisodeId id, Episode& episode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The call is no episode's any more.
  void Detach(Episode& episode, bool cancel) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Begins it again, or ends it. The episode may be gone afterwards.
  void Fail(EpisodeId id, absl::Status why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Count(const Episode& episode, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Of a Call, in gRPC's threads.
  void Received(Call& call) ABSL_LOCKS_EXCLUDED(mu_);
  void Ended(Call& call, const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mu_);
  // After an ended call was deleted. Close waits for it, since a call holds the channel, and gRPC aborts when the
  // process' last channel is closed by one of the threads that end calls: they would wait for themselves.
  void LetGo() ABSL_LOCKS_EXCLUDED(mu_);

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const Options options_;
  std::function<void()> notify_ = [] {};

  mutable absl::Mutex mu_;
  CondVar changed_;  // calls_ and leaving_
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::map<EpisodeId, Episode> episodes_ ABSL_GUARDED_BY(mu_);
  std::set<Call*> calls_ ABSL_GUARDED_BY(mu_);  // not ended yet
  size_t leaving_ ABSL_GUARDED_BY(mu_) = 0;     // of calls that have ended, those not deleted yet
  std::vector<Ending> endings_ ABSL_GUARDED_BY(mu_);
  std::vector<Event> events_ ABSL_GUARDED_BY(mu_);
  std::string trouble_ ABSL_GUARDED_BY(mu_);
  LogLimiter log_ ABSL_GUARDED_BY(mu_){/*burst=*/3, /*per_second=*/0.1};
};

}  // namespace tactus
