// What tests of the ledger do again and again.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "learner/ledger/rollout_ledger.h"
#include "tests/data/group_builder.h"

namespace tactus {

inline constexpr absl::Duration kStart = absl::Seconds(1000);

inline LedgerOptions Options(int staleness, int prompts = 4) {
  return {.prompts_per_step = prompts,
          .completions_per_prompt = 2,
          .max_staleness_steps = staleness,
          .lease_timeout = absl::Seconds(100),
          .seed = 11};
}

inline void Fill(RolloutLedger& ledger, uint64_t& next_id) {
  while (ledger.View().free_slots > 0) ASSERT_TRUE(ledger.Add(MakePrompt(next_id++)).ok());
}

inline std::vector<PromptLease> Lease(RolloutLedger& ledger, const std::string& actor, int count, PolicyVersion held,
                                      absl::Duration now = kStart) {
  absl::StatusOr<std::vector<PromptLease>> leases = ledger.Lease(actor, count, held, now);
  EXPECT_TRUE(leases.ok()) << leases.status();
  return leases.ok() ? *leases : std::vector<PromptLease>{};
}

inline absl::Status Answer(RolloutLedger& ledger, const PromptLease& lease, const std::string& actor,
                           PolicyVersion version) {
  return ledger.Submit(MakeGroup(lease, actor, version));
}

inline std::vector<uint64_t> PromptIds(const std::vector<TrajectoryGroup>& groups) {
  std::vector<uint64_t> ids;
  ids.reserve(groups.size());
  for (const TrajectoryGroup& group : groups) ids.push_back(group.prompt_id);
  return ids;
}

}  // namespace tactus
