#include "common/environment/open_task.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/back_off.h"
#include "common/base/host_port.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "common/environment/environment_judge.h"
#include "common/environment/environment_task.h"
#include "common/environment/grpc_environment_client.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

constexpr absl::Duration kDescribeTimeout = absl::Seconds(5);
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(1);
constexpr absl::Duration kLogEvery = absl::Seconds(10);

bool ServesPrompts(const config::RunConfig& run) { return run.task().name() == "environment"; }

absl::StatusOr<std::unique_ptr<EnvironmentClient>> Connect(const config::RunConfig& run) {
  ASSIGN_OR_RETURN(const HostPort address, HostPort::Parse(run.environment().address(), "environment.address"));
  return EnvironmentClient::Create(address, ChannelSecurity::FromProto(run.service()));
}

absl::StatusOr<EnvironmentFacts> AwaitDescription(EnvironmentClient& client, absl::Duration wait) {
  BackOff pauses(kFirstPause, kLongestPause, /*jitter=*/true);
  const absl::Time deadline = MonotonicNow() + wait;
  absl::Time logged = absl::InfinitePast();
  while (true) {
    const absl::Time start = MonotonicNow();
    absl::StatusOr<EnvironmentFacts> facts =
        client.Describe(std::clamp(deadline - start, kFirstPause, kDescribeTimeout));
    const absl::Status& status = facts.status();
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return facts;  // OK, or another server
    if (MonotonicNow() >= deadline) {
      return absl::UnavailableError(
          absl::StrCat("environment.address: waited ", absl::FormatDuration(wait), "; ", status.message()));
    }
    if (start - logged >= kLogEvery) {
      logged = start;
      TACTUS_LOG(WARNING) << "waiting for the environment: " << status.message();
    }
    absl::SleepFor(pauses.Next());
  }
}

absl::StatusOr<std::unique_ptr<Task>> Read(const config::RunConfig& run, bool test_only) {
  RETURN_IF_ERROR(config::CheckTaskOptions(run.task()));
  ASSIGN_OR_RETURN(const std::unique_ptr<EnvironmentClient> client, Connect(run));
  ASSIGN_OR_RETURN(const EnvironmentFacts facts, AwaitDescription(*client, kEnvironmentWait));
  if (!facts.has_prompts) {
    return absl::InvalidArgumentError(
        absl::StrCat("task.name: environment ", client->address(),
                     " has no prompts, expected another task for them, with task.rewards: ENVIRONMENT"));
  }
  return ReadEnvironmentTask(*client, test_only);
}

absl::Status CheckKind(const config::RunConfig& run, const EnvironmentFacts& facts) {
  if (run.task().sources().empty() || !facts.conversations) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("environment.address: environment ", run.environment().address(),
                                                 " holds conversations, and prompts of task.sources get one answer: "
                                                 "expected one whose Describe says SINGLE_TURN"));
}

absl::StatusOr<RewardSource> OpenEnvironment(const config::RunConfig& run, absl::Duration wait, MetricSet* metrics) {
  RewardSource source;
  ASSIGN_OR_RETURN(std::unique_ptr<EnvironmentClient> client, Connect(run));
  ASSIGN_OR_RETURN(const EnvironmentFacts facts, AwaitDescription(*client, wait));
  RETURN_IF_ERROR(CheckKind(run, facts));
  TACTUS_LOG(INFO) << "rewards are those of environment " << client->address()
                   << (facts.name.empty() ? "" : absl::StrCat(" (", facts.name, ")"));
  const int groups = run.actor().max_leases();
  if (facts.conversations) {
    const int answers = groups * run.rollout().completions_per_prompt();
    const Episodes::Options episodes{
        .reply_timeout = absl::Seconds(run.environment().timeout_s()),
        .calls_at_once = facts.max_calls == 0 ? answers : std::min(answers, facts.max_calls),
        .metrics = metrics};
    ASSIGN_OR_RETURN(const HostPort address, HostPort::Parse(run.environment().address(), "environment.address"));
    ASSIGN_OR_RETURN(source.episodes, Episodes::Create(address, ChannelSecurity::FromProto(run.service()), episodes));
    return source;
  }
  const EnvironmentJudge::Options options{
      .call_timeout = absl::Seconds(run.environment().timeout_s()),
      .calls_at_once = facts.max_calls == 0 ? groups : std::min(groups, facts.max_calls),
      .metrics = metrics};
  source.judge = std::make_unique<EnvironmentJudge>(std::move(client), options);
  return source;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> OpenTask(const config::RunConfig& run) {
  return ServesPrompts(run) ? Read(run, /*test_only=*/false) : CreateTask(run.task());
}

absl::StatusOr<std::unique_ptr<Task>> OpenTestSet(const config::RunConfig& run) {
  return ServesPrompts(run) ? Read(run, /*test_only=*/true) : CreateTestSet(run.task());
}

absl::StatusOr<std::unique_ptr<Judge>> OpenJudge(const config::RunConfig& run, absl::Duration wait,
                                                 MetricSet* metrics) {
  ASSIGN_OR_RETURN(RewardSource source, OpenRewards(run, wait, metrics));
  if (source.judge != nullptr) return std::move(source.judge);
  return absl::InvalidArgumentError(absl::StrCat("environment.address: environment ", run.environment().address(),
                                                 " holds conversations, which a run's actors and `tactus eval` do: "
                                                 "expected one whose Describe says SINGLE_TURN"));
}

absl::StatusOr<RewardSource> OpenRewards(const config::RunConfig& run, absl::Duration wait, MetricSet* metrics) {
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Verifier>> verifiers, CreateVerifiers(run.task()));
  RewardSource environment;
  if (config::EnvironmentJudges(run.task())) {
    ASSIGN_OR_RETURN(environment, OpenEnvironment(run, wait, metrics));
  }
  if (environment.episodes != nullptr) return environment;
  const std::shared_ptr<Judge> served = std::move(environment.judge);
  std::vector<std::shared_ptr<Judge>> judges;
  for (std::unique_ptr<Verifier>& verifier : verifiers) {
    judges.push_back(verifier == nullptr ? served : std::make_shared<VerifierJudge>(std::move(verifier)));
  }
  return RewardSource{.judge = std::make_unique<SourcesJudge>(std::move(judges)), .episodes = nullptr};
}

absl::Status ProbeEnvironment(const config::RunConfig& run) {
  if (!config::EnvironmentJudges(run.task())) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<EnvironmentClient> client, Connect(run));
  ASSIGN_OR_RETURN(const EnvironmentFacts facts, client->Describe(kDescribeTimeout));
  return CheckKind(run, facts);
}

}  // namespace tactus
