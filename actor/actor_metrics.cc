#include "actor/actor_metrics.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"
#include "common/rollout/certificate_metrics.h"

namespace tactus {
namespace {

constexpr absl::Duration kEvery = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<ActorMetricsThread>> ActorMetricsThread::Start(const Actor* actor,
                                                                              const WeightRelaying* relaying,
                                                                              const ChannelSecurity& security,
                                                                              MetricSet* metrics) {
  auto publish = absl::WrapUnique(new ActorMetricsThread(actor, relaying, security, metrics));
  ASSIGN_OR_RETURN(publish->thread_, StartThread("an actor's metrics", [self = publish.get()] { self->Loop(); }));
  return publish;
}

ActorMetricsThread::~ActorMetricsThread() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    stopped_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

void ActorMetricsThread::Loop() {
  ActorStats last;
  CertificateMetrics certificates(security_);
  const auto stop = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_; };
  absl::MutexLock lock(&mutex_);
  do {
    Copy(last);
    certificates.Update(*metrics_);
  } while (!stopped_.AwaitFor(&mutex_, kEvery, stop));
  Copy(last);
}

void ActorMetricsThread::Copy(ActorStats& last) {
  using enum Metric;
  MetricSet& m = *metrics_;
  const ActorStats now = actor_->stats();
  const auto add = [&](Metric metric, auto ActorStats::*field, const char* label, double unit = 1) {
    m.Add(metric, unit * static_cast<double>(now.*field - last.*field), label);
  };
  add(kActorTokens, &ActorStats::prompt_tokens, "prompt");
  add(kActorTokens, &ActorStats::completion_tokens, "completion");
  add(kActorTokens, &ActorStats::continuation_tokens, "continuation");
  const double group = actor_->completions_per_prompt();
  add(kActorTrajectories, &ActorStats::groups_submitted, "acknowledged", group);
  add(kActorTrajectories, &ActorStats::answers_measured, "held_out");
  add(kActorTrajectories, &ActorStats::groups_expired, "expired", group);
  add(kActorTrajectories, &ActorStats::groups_refused, "refused", group);
  add(kActorTrajectories, &ActorStats::groups_unscored, "unscored", group);
  add(kActorBusySeconds, &ActorStats::step_s, "");
  add(kActorBlockedSeconds, &ActorStats::wait_lease_s, "backpressure");
  add(kActorBlockedSeconds, &ActorStats::wait_weights_s, "weights");
  add(kActorBlockedSeconds, &ActorStats::wait_scoring_s, "scoring");
  add(kActorBlockedSeconds, &ActorStats::wait_disconnected_s, "disconnected");
  m.Add(kActorPreemptions, static_cast<double>(now.engine.preemptions - last.engine.preemptions));
  m.Set(kActorRequests, now.engine.running, "running");
  m.Set(kActorRequests, std::max(0, now.unfinished_completions - now.engine.running), "waiting");
  if (now.engine.num_pages > 0) {
    m.Set(kActorKvCacheUsage, 1.0 - static_cast<double>(now.engine.free_pages) / now.engine.num_pages);
  }
  if (relaying_ != nullptr) {
    const uint64_t sent = relaying_->bytes_sent();
    m.Add(kWeightRelayBytes, static_cast<double>(sent - std::exchange(relayed_, sent)), "sent");
  }
  if (now.version.has_value()) m.Set(kWeightVersion, static_cast<double>(now.version->step));
  last = now;
}

}  // namespace tactus
