#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/task_sources.h"
#include "common/environment/open_task.h"
#include "common/tasks/task.h"
#include "proto/config.pb.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/verify_jsonl.h"
#include "tools/command.h"

namespace tactus {
namespace {

struct VerifyFlags {
  std::optional<std::string> task, config, source;
  std::vector<std::string> set;
  JsonlFlags jsonl;

  void Declare(CLI::App& app) {
    AddFlag(app, "--task NAME", task, "whose verifier: " + TaskNames());
    AddFlag(app, "--config FILE", config, "judge as this run does, by its environment where it has one");
    AddFlag(app, "--source NAME", source, "with --config: which of its task.sources the answers are of");
    AddFlag(app, "--set FIELD=VALUE", set, "with --config: override one field");
    jsonl.Declare(app);
  }
};

// For the first look at the lines: an environment is asked once for each.
class NoJudge final : public Judge {
 public:
  absl::StatusOr<std::vector<Reward>> Score(const Question&, std::span<const Answer> answers, absl::Time) override {
    return std::vector<Reward>(answers.size());
  }
};

struct Judges {
  std::unique_ptr<Judge> checks;  // null: the other
  std::unique_ptr<Judge> works;
  absl::Duration patience = absl::InfiniteDuration();  // for one line; of an environment as long as a run has
};

// That of the run with one source.
absl::StatusOr<config::RunConfig> ConfigOf(const VerifyFlags& flags) {
  ASSIGN_OR_RETURN(config::RunConfig run, config::LoadRunConfig(*flags.config, flags.set));
  const config::TaskOptions task = run.task();
  const std::optional<size_t> source = config::SourceIndex(task, flags.source.value_or(""));
  if (task.sources().empty() && !flags.source.has_value()) return run;
  if (!source.has_value()) {
    const std::string names = absl::StrJoin(config::SourceNames(task), ", ");
    return absl::InvalidArgumentError(absl::StrCat(
        flags.source.has_value() ? absl::StrCat("--source is \"", *flags.source, "\"") : "--source is missing",
        ": expected ",
        task.sources().empty() ? "none, as the configuration has no task.sources."
                               : absl::StrCat("one of the configuration's task.sources, ", names, ".")));
  }
  *run.mutable_task() = config::SourcesOf(task)[*source];
  return run;
}

absl::StatusOr<Judges> JudgesOf(const VerifyFlags& flags) {
  if (!flags.task.has_value() && !flags.config.has_value()) {
    return absl::InvalidArgumentError("--task NAME is missing: expected it, or --config FILE.");
  }
  if (flags.task.has_value() && flags.config.has_value()) {
    return absl::InvalidArgumentError("--task does not go with --config, which names one: expected either.");
  }
  if (flags.source.has_value() && !flags.config.has_value()) {
    return absl::InvalidArgumentError("--source goes with --config, whose task.sources it names.");
  }
  if (flags.config.has_value()) {
    ASSIGN_OR_RETURN(const config::RunConfig run, ConfigOf(flags));
    Judges judges;
    judges.patience = absl::Seconds(run.rollout().lease_timeout_s());
    ASSIGN_OR_RETURN(judges.works, OpenJudge(run, kEnvironmentWait, /*metrics=*/nullptr));
    if (config::EnvironmentJudges(run.task())) judges.checks = std::make_unique<NoJudge>();
    return judges;
  }
  absl::StatusOr<std::unique_ptr<Verifier>> verifier =
      CreateVerifier(*flags.task, config::TaskOptions::default_instance().format_reward());
  if (!verifier.ok()) return absl::InvalidArgumentError(absl::StrCat("--task: ", verifier.status().message()));
  return Judges{.checks = nullptr, .works = std::make_unique<VerifierJudge>(*std::move(verifier))};
}

absl::Status Run(const VerifyFlags& flags) {
  ASSIGN_OR_RETURN(const Judges judges, JudgesOf(flags));
  const auto with = [&judges](Judge& judge) {
    return [&judge, &judges](std::istream& in, std::ostream& out, absl::string_view name) {
      return VerifyJsonl(judge, judges.patience, in, name, out);
    };
  };
  return WithJsonl(flags.jsonl, with(judges.checks == nullptr ? *judges.works : *judges.checks), with(*judges.works));
}

}  // namespace

constinit const Command kVerifyCommand = {
    .name = "verify",
    .summary = "Judges answers with a task's verifier, or with a run's environment",
    .synopsis = "(--task NAME | --config FILE [--source NAME] [--set FIELD=VALUE ...]) --input FILE [--output FILE]",
    .example =
        "echo '{\"id\":1,\"numbers\":[3,4,7],\"target\":16,\"response\":\"<answer>(7-3)*4</answer>\"}' |\n"
        "    tactus verify --task countdown --input -\n"
        "  echo '{\"id\":1,\"answer\":72,\"response\":\"<answer>72 eggs</answer>\"}' | tactus verify --task qa --input "
        "-",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
