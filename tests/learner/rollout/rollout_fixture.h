// One learner and its actors in this process, over loopback.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rollout/grpc_rollout_port.h"
#include "learner/rollout/grpc_rollout_server.h"
#include "tests/data/group_builder.h"

namespace tactus {

inline constexpr absl::Duration kLong = absl::Seconds(20);
inline constexpr absl::Duration kShort = absl::Milliseconds(50);

class RolloutFixture : public ::testing::Test {
 protected:
  static RolloutServerOptions ServerOptions(int staleness = 0) {
    RolloutServerOptions options;
    options.listen = "127.0.0.1:0";
    options.security.plaintext = true;
    options.run_id = "test-run";
    options.config_fingerprint = "f1";
    options.limits = kTestLimits;
    options.ledger.prompts_per_step = 4;
    options.ledger.completions_per_prompt = kTestLimits.completions_per_prompt;
    options.ledger.max_staleness_steps = staleness;
    options.lost_actor_grace = absl::Milliseconds(300);
    return options;
  }

  void StartServer(const RolloutServerOptions& options, std::optional<RolloutRestore> restore = std::nullopt) {
    absl::StatusOr<std::unique_ptr<RolloutServer>> started = RolloutServer::Start(options, std::move(restore));
    ASSERT_TRUE(started.ok()) << started.status();
    server = std::move(*started);
  }

  GrpcRolloutPortOptions ActorOptions(const std::string& actor_id) const {
    GrpcRolloutPortOptions options;
    options.address = {"127.0.0.1", server->port()};
    options.security.plaintext = true;
    options.run_id = "test-run";
    options.actor_id = actor_id;
    options.config_fingerprint = "f1";
    options.limits = kTestLimits;
    return options;
  }

  std::unique_ptr<GrpcRolloutPort> Attach(const std::string& actor_id) const {
    absl::StatusOr<std::unique_ptr<GrpcRolloutPort>> port = GrpcRolloutPort::Connect(ActorOptions(actor_id), kLong);
    EXPECT_TRUE(port.ok()) << port.status();
    return port.ok() ? std::move(*port) : nullptr;
  }

  void AddPrompts() {
    std::vector<Prompt> prompts;
    for (int i = server->FreeSlots(); i > 0; --i) prompts.push_back(MakePrompt(next_prompt++));
    ASSERT_TRUE(server->AddPrompts(std::move(prompts)).ok());
  }

  static std::vector<PromptLease> Lease(RolloutPort& port, int count, PolicyVersion held) {
    absl::StatusOr<std::vector<PromptLease>> leases = port.Lease(count, held, kLong);
    EXPECT_TRUE(leases.ok()) << leases.status();
    return leases.ok() ? *leases : std::vector<PromptLease>{};
  }

  static std::vector<uint64_t> Ids(const absl::StatusOr<std::vector<TrajectoryGroup>>& groups) {
    EXPECT_TRUE(groups.ok()) << groups.status();
    std::vector<uint64_t> ids;
    if (groups.ok()) {
      for (const TrajectoryGroup& group : *groups) ids.push_back(group.prompt_id);
    }
    return ids;
  }

  // Polls, since some effects come with a timer; fails after kLong.
  template <typename Condition>
  static void Eventually(Condition condition) {
    const absl::Time deadline = absl::Now() + kLong;
    while (!condition() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
    EXPECT_TRUE(condition());
  }

  std::unique_ptr<RolloutServer> server;
  uint64_t next_prompt = 0;
};

}  // namespace tactus
