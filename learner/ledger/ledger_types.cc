#include "learner/ledger/ledger_types.h"

namespace tactus {

absl::string_view ReasonName(RejectReason reason) {
  constexpr absl::string_view kNames[kRejectReasons] = {"malformed", "duplicate", "expired"};
  return kNames[static_cast<size_t>(reason)];
}

absl::string_view ReasonName(DropReason reason) {
  constexpr absl::string_view kNames[kDropReasons] = {"stale", "rolled_back", "no_signal"};
  return kNames[static_cast<size_t>(reason)];
}

bool LedgerCounters::Balanced() const {
  int64_t all_rejected = 0, all_dropped = 0;
  for (const int64_t count : rejected) all_rejected += count;
  for (const int64_t count : dropped) all_dropped += count;
  return received == accepted + all_rejected && accepted == trained + queued + all_dropped;
}

}  // namespace tactus
