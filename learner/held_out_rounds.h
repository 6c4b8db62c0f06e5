// Which versions of a run its actors measure on held-out sets (eval.by: ACTORS), and what their answers add up to.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/config_fwd.h"
#include "common/data/types.h"
#include "common/metrics/held_out.h"
#include "common/metrics/run_folder.h"
#include "learner/rollout/eval_board.h"

namespace tactus {

// Due is for the thread that publishes versions, all else for any: it does not change.
class HeldOutRounds {
 public:
  // No sets: nothing is ever due. Errors of held_out.jsonl.
  static absl::StatusOr<std::unique_ptr<HeldOutRounds>> Create(const config::RunConfig& config,
                                                               std::vector<HeldOutSet> sets, const RunFolder& folder);

  bool on() const { return !sets_.empty(); }
  int most_samples() const;  // to a prompt; 0 where it is not on

  // To be asked of each version that actors get, in their order. A round of it is due at both ends and every
  // eval.every_steps; where the version of such a step was never published, since newer ones came, of the next one that
  // is. It is of the sets that have no line for the version in held_out.jsonl since before this process.
  std::optional<EvalRound> Due(PolicyVersion version);

  // How long a version waits for the round of the one before, and the end of a run for its last: as long as all leases
  // that a prompt may get.
  absl::Duration patience() const { return patience_; }

  HeldOutRecord RecordOf(PolicyVersion version, const EvalAnswers& answers) const;

 private:
  HeldOutRounds(const config::RunConfig& config, std::vector<HeldOutSet> sets);

  const std::vector<HeldOutSet> sets_;
  const uint64_t every_steps_;  // 0: both ends alone
  const uint64_t last_step_;
  const absl::Duration patience_;
  std::set<std::pair<std::string, uint64_t>> measured_;  // set and step
  std::optional<uint64_t> published_;                    // the step of the newest version that Due was asked of
};

}  // namespace tactus
