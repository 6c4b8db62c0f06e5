#include "common/rollout/in_process_port.h"

#include <gtest/gtest.h>

#include <thread>

#include "learner/ledger/rollout_ledger.h"
#include "tests/data/group_builder.h"

namespace tactus {
namespace {

class LocalLedger final : public LedgerService {
 public:
  LocalLedger() : ledger_({.prompts_per_step = 2, .completions_per_prompt = 2}) {}
  void AddPrompt(uint64_t id) {
    absl::MutexLock lock(&mu_);
    ASSERT_TRUE(ledger_.Add(MakePrompt(id)).ok());
  }
  size_t Take(int count) {
    absl::MutexLock lock(&mu_);
    return ledger_.Take(count).size();
  }
  absl::StatusOr<std::vector<PromptLease>> TryLease(const std::string& actor_id, int max_leases,
                                                    PolicyVersion held) override {
    absl::MutexLock lock(&mu_);
    return ledger_.Lease(actor_id, max_leases, held, absl::ZeroDuration());
  }
  absl::Status Submit(TrajectoryGroup group) override {
    absl::MutexLock lock(&mu_);
    return ledger_.Submit(std::move(group));
  }
  std::optional<PolicyVersion> LatestVersion() const override { return PolicyVersion{0, 0}; }
  bool RunFinished() const override { return false; }

 private:
  absl::Mutex mu_;
  RolloutLedger ledger_ ABSL_GUARDED_BY(mu_);
};

TEST(InProcessPort, LeasesSubmitsAndCloses) {
  LocalLedger ledger;
  InProcessPort port(ledger, "actor-1");
  EXPECT_TRUE(port.Lease(1, {0, 0}, absl::Milliseconds(5))->empty());
  std::thread adder([&] { ledger.AddPrompt(0); });
  const std::vector<PromptLease> leases = *port.Lease(1, {0, 0}, absl::Seconds(20));
  adder.join();
  ASSERT_EQ(leases.size(), 1u);
  const TrajectoryGroup group = MakeGroup(leases[0], "actor-1", {0, 0});
  EXPECT_TRUE(port.Submit(group, absl::Seconds(1)).ok());
  EXPECT_TRUE(port.Submit(group, absl::Seconds(1)).ok());
  EXPECT_EQ(ledger.Take(1), 1u);
  EXPECT_EQ(port.Lease(1, {3, 0}, absl::Seconds(1)).status().code(), absl::StatusCode::kFailedPrecondition);
  port.Close();
  EXPECT_EQ(port.Lease(1, {0, 0}, absl::Seconds(20)).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(port.Submit(group, absl::Seconds(1)).code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace tactus
