// A synchronous run whose second prompt ends every actor that works on it: the learner is a real process, the actor is
// played.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/host_port.h"
#include "common/config/run_config.h"
#include "common/metrics/run_folder.h"
#include "common/rollout/grpc_rollout_port.h"
#include "nlohmann/json.hpp"
#include "proto/config.pb.h"
#include "tests/tree.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(240);
constexpr uint64_t kFatalPrompt = 1;

struct AttemptsTest : ::testing::Test {
  void SetUp() override {
    std::filesystem::remove_all(folder.root);
    std::filesystem::create_directories(folder.root);
    std::vector<std::string> argv = {"/bin/sh",
                                     "-c",
                                     "cd \"$0\" && exec \"$@\"",
                                     SourcePath(),
                                     BuildPath("bin/tactus-learner"),
                                     "--config",
                                     "configs/quickstart.textproto",
                                     "--out",
                                     folder.root,
                                     "--ready-file",
                                     ready};
    for (const std::string& set : settings) argv.insert(argv.end(), {"--set", set});
    learner = ChildProcess::Start(argv, log).value();
  }
  // As the learner's, once it serves.
  GrpcRolloutPortOptions Options() const {
    const config::RunConfig config = *config::LoadRunConfig(SourcePath("configs/quickstart.textproto"), settings);
    GrpcRolloutPortOptions options;
    for (const absl::Time end = absl::Now() + kTimeout; absl::Now() < end; absl::SleepFor(absl::Milliseconds(20))) {
      const absl::StatusOr<std::string> text = ReadFile(ready);
      if (!text.ok()) continue;
      options.address = *HostPort::Parse(nlohmann::json::parse(*text)["listen"].get<std::string>(), "the ready file");
      break;
    }
    options.security.plaintext = true;
    options.run_id = "quickstart";
    options.actor_id = "actor-0";
    options.config_fingerprint = config::Fingerprint(config);
    options.limits = {
        .max_prompt_tokens = 64, .max_completion_tokens = 192, .completions_per_prompt = 2, .vocab_size = 1 << 20};
    return options;
  }
  static TrajectoryGroup Answer(const PromptLease& lease, PolicyVersion version) {
    TrajectoryGroup group{lease.lease_id, lease.prompt.id, lease.prompt.token_ids, {}, "actor-0"};
    for (int i = 0; i < lease.completions_wanted; ++i) {
      Completion completion;
      completion.token_ids = {2, 3, 4};
      completion.logprobs = {-1, -1, -1};
      completion.entropy = {1, 1, 1};
      completion.credit = {1, 1, 1};
      completion.versions = {{0, version}};
      completion.reward = {static_cast<double>(i % 2), static_cast<double>(i % 2), 0, "played"};
      group.completions.push_back(completion);
    }
    return group;
  }

  const RunFolder folder{::testing::TempDir() + "/attempts_test"};
  const std::string log = folder.root + "/log", ready = folder.root + "/ready.json";
  const std::vector<std::string> settings = {"model.path=" + SourcePath("models/quickstart"),
                                             "rollout.prompts_per_step=2",
                                             "rollout.completions_per_prompt=2",
                                             "rollout.max_staleness_steps=0",
                                             "learner.steps=2",
                                             "learner.threads=1"};
  std::unique_ptr<ChildProcess> learner;
};

TEST_F(AttemptsTest, APromptThatEndsItsActorsIsDroppedAndTheRunGoesOn) {
  const GrpcRolloutPortOptions options = Options();
  int deaths = 0;
  std::vector<uint64_t> answered;
  const absl::Time end = absl::Now() + kTimeout;
  while (!learner->Poll().has_value() && absl::Now() < end) {
    auto port = GrpcRolloutPort::Connect(options, absl::Seconds(20));
    if (!port.ok()) break;
    for (bool alive = true; alive && !(*port)->RunFinished() && absl::Now() < end;) {
      const auto version = (*port)->AwaitVersion(std::nullopt, absl::Seconds(20));
      if (!version.ok() || !version->has_value()) break;
      const auto leases = (*port)->Lease(1, **version, absl::Milliseconds(200));
      if (!leases.ok()) continue;  // newer weights are out
      for (const PromptLease& lease : *leases) {
        alive = lease.prompt.id != kFatalPrompt;
        if (alive && (*port)->Submit(Answer(lease, **version), absl::Seconds(20)).ok()) {
          answered.push_back(lease.prompt.id);
        }
      }
    }
    if (!(*port)->RunFinished()) ++deaths;
  }
  EXPECT_EQ(learner->Wait(kTimeout).value_or(-1), 0) << LogTail(log, 20);
  EXPECT_EQ(deaths, 3);
  EXPECT_THAT(answered, ElementsAre(0, 2, 3, 4))
      << "the first step has prompt 2 in its place, the second goes on from there";
  EXPECT_THAT(*ReadFile(log), HasSubstr("prompt 1 is dropped after 3 leases without an answer, the last to actor-0"));
  EXPECT_EQ(ReadSteps(folder.metrics())->size(), 2u);
}

}  // namespace
}  // namespace tactus
