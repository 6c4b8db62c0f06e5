#include "learner/rollout/ledger_metrics.h"

namespace tactus {

void LedgerMetrics::Update(const RolloutLedger& ledger, const IngestView& ingest) {
  if (metrics_ == nullptr) return;
  using enum Metric;
  MetricSet& m = *metrics_;
  const double group = ledger.completions_per_prompt();  // trajectories
  const LedgerCounters& now = ledger.counters();
  const auto add = [&](Metric metric, int64_t count, absl::string_view label = "") {
    m.Add(metric, group * static_cast<double>(count), label);
  };
  const int64_t nonfinite = ingest.nonfinite_groups - nonfinite_groups_;
  add(kTrajectoriesReceived, now.received - last_.received);
  add(kTrajectoriesAccepted, now.accepted - last_.accepted);
  add(kTrajectoriesTrained, now.trained - last_.trained);
  add(kTrajectoriesRejected, now[RejectReason::kMalformed] - last_[RejectReason::kMalformed] - nonfinite, "malformed");
  add(kTrajectoriesRejected, nonfinite, "nonfinite");
  add(kTrajectoriesRejected, now[RejectReason::kDuplicate] - last_[RejectReason::kDuplicate], "duplicate");
  add(kTrajectoriesRejected, now[RejectReason::kExpired] - last_[RejectReason::kExpired], "expired");
  add(kTrajectoriesDropped, now[DropReason::kStale] - last_[DropReason::kStale], "stale");
  add(kTrajectoriesDropped, now[DropReason::kRolledBack] - last_[DropReason::kRolledBack], "rolled_back");
  add(kTrajectoriesDropped, now[DropReason::kNoSignal] - last_[DropReason::kNoSignal], "no_signal");
  m.Add(kLeases, static_cast<double>(now.leases_granted - last_.leases_granted), "granted");
  m.Add(kLeases, static_cast<double>(now.leases_expired - last_.leases_expired), "expired");
  m.Add(kLeases, static_cast<double>(now.leases_returned - last_.leases_returned), "returned");
  m.Add(kPromptsDropped, static_cast<double>(now.prompts_dropped - last_.prompts_dropped));
  last_ = now;
  nonfinite_groups_ = ingest.nonfinite_groups;

  const LedgerView view = ledger.View();
  m.Set(kPrompts, view.waiting, "waiting");
  m.Set(kPrompts, view.leased, "leased");
  m.Set(kPrompts, view.ready, "ready");
  m.Set(kPrompts, view.taken, "taken");
  m.Set(kQueueDepth, group * static_cast<double>(now.queued));
  m.Set(kQueueCapacity, group * ledger.slots());
  m.Set(kQueueBytes, static_cast<double>(ledger.ReadyBytes() + ingest.waiting_bytes));
  m.Set(kActorsConnected, ingest.actors);
}

}  // namespace tactus
