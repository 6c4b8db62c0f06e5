// Shows the ledger's counters and the way of groups into it as metrics.
#pragma once

#include <cstdint>

#include "common/metrics/metric_set.h"
#include "learner/ledger/rollout_ledger.h"

namespace tactus {

// What the rollout server knows beside its ledger.
struct IngestView {
  int actors = 0;                // with an open stream
  int64_t waiting_bytes = 0;     // of groups that were received and not yet judged
  int64_t nonfinite_groups = 0;  // of the ledger's malformed ones, since the process began
};

// Owned by whoever guards the ledger. Counters begin at 0 in this process, also where a run is resumed. Without metrics
// (null) it does nothing.
class LedgerMetrics {
 public:
  // `metrics` must outlive it.
  explicit LedgerMetrics(MetricSet* metrics) : metrics_(metrics) {}

  // From where to count: a restored ledger's counters are not of this process.
  void Start(const RolloutLedger& ledger) { last_ = ledger.counters(); }
  void Update(const RolloutLedger& ledger, const IngestView& ingest);

 private:
  MetricSet* const metrics_;
  LedgerCounters last_;  // already shown
  int64_t nonfinite_groups_ = 0;
};

}  // namespace tactus
