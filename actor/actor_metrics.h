// Shows an actor's counters, and its certificate's expiry, as metrics.
#pragma once

#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "actor/actor.h"
#include "actor/weight_relaying.h"
#include "common/base/cond_var.h"
#include "common/metrics/metric_set.h"
#include "common/rollout/channel_security.h"

namespace tactus {

// Copies them once a second, and a last time when destroyed. Owns one thread. Actor, relaying (null: there is none) and
// metrics outlive it.
class ActorMetricsThread {
 public:
  // ResourceExhausted: there is no thread to be had.
  static absl::StatusOr<std::unique_ptr<ActorMetricsThread>> Start(const Actor* actor, const WeightRelaying* relaying,
                                                                   const ChannelSecurity& security, MetricSet* metrics);
  ~ActorMetricsThread();
  ActorMetricsThread(const ActorMetricsThread&) = delete;
  ActorMetricsThread& operator=(const ActorMetricsThread&) = delete;

 private:
  ActorMetricsThread(const Actor* actor, const WeightRelaying* relaying, const ChannelSecurity& security,
                     MetricSet* metrics)
      : actor_(actor), relaying_(relaying), security_(security), metrics_(metrics) {}
  void Loop();
  void Copy(ActorStats& last);

  const Actor* const actor_;
  const WeightRelaying* const relaying_;
  uint64_t relayed_ = 0;  // bytes shown; the thread's
  const ChannelSecurity security_;
  MetricSet* const metrics_;
  absl::Mutex mutex_;
  CondVar stopped_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tactus
