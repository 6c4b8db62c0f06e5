#include "tools/job/study_job.h"

#include <csignal>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/exit_code.h"
#include "common/base/folder_lock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/config/run_config.h"
#include "common/metrics/held_out.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/config.pb.h"
#include "proto/study.pb.h"
#include "tools/job/child_process.h"
#include "tools/job/run_end.h"
#include "tools/job/run_inputs.h"

namespace tactus {
namespace {

using google::protobuf::util::MessageDifferencer;

constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr int kTailLines = 8;

absl::Status OfVariant(const config::StudyPlan& plan, size_t variant, const absl::Status& status) {
  return {status.code(),
          absl::StrCat("variant \"", plan.variant(static_cast<int>(variant)).name(), "\": ", status.message())};
}

absl::StatusOr<PlannedRun> PlanRun(const config::StudyPlan& plan, const std::string& folder, size_t variant,
                                   uint64_t seed) {
  const config::StudyVariant& of = plan.variant(static_cast<int>(variant));
  PlannedRun run{.variant = variant,
                 .seed = seed,
                 .title = absl::StrCat(of.name(), ", seed ", seed),
                 .folder = {absl::StrCat(folder, "/runs/", of.name(), "-s", seed)},
                 .overrides = {plan.set().begin(), plan.set().end()},
                 .config = nullptr};
  run.overrides.insert(run.overrides.end(), of.set().begin(), of.set().end());
  run.overrides.push_back(absl::StrCat("seed=", seed));
  absl::StatusOr<config::RunConfig> config = config::LoadRunConfig(plan.config(), run.overrides);
  if (!config.ok()) return OfVariant(plan, variant, config.status());
  run.config = std::make_shared<const config::RunConfig>(*std::move(config));
  return run;
}

// What every run of the variant will read.
absl::Status CheckVariant(const config::StudyPlan& plan, const PlannedRun& run, const PlannedRun& first) {
  const auto completions = [](const PlannedRun& of) { return SamplesPerStep(of) * of.config->learner().steps(); };
  const std::string& name = plan.variant(static_cast<int>(run.variant)).name();
  if (completions(run) != completions(first)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "variant \"", name, "\" trains on ", completions(run), " completions and \"", plan.variant(0).name(), "\" on ",
        completions(first),
        ": expected equally many (learner.steps, rollout.prompts_per_step, rollout.completions_per_prompt)."));
  }
  for (const std::string& warning : config::Warnings(*run.config)) {
    std::fprintf(stderr, "warning: variant \"%s\": %s\n", name.c_str(), warning.c_str());
  }
  const absl::StatusOr<std::vector<std::string>> remarks = CheckRunInputs(*run.config);
  if (!remarks.ok()) return OfVariant(plan, run.variant, remarks.status());
  for (const std::string& remark : *remarks) {
    std::fprintf(stderr, "warning: variant \"%s\": %s.\n", name.c_str(), remark.c_str());
  }
  return absl::OkStatus();
}

// A folder of an earlier call holds the run that is wanted.
absl::Status CheckFolder(const PlannedRun& run) {
  if (!Exists(run.folder.config())) return absl::OkStatus();
  ASSIGN_OR_RETURN(const config::RunConfig there, config::LoadRunConfig(run.folder.config(), {}));
  if (config::Fingerprint(there) == config::Fingerprint(*run.config) &&
      there.learner().steps() == run.config->learner().steps() &&
      MessageDifferencer::Equivalent(there.eval(), run.config->eval())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(run.folder.config(), " is of a run with other options than ",
                                                 run.title,
                                                 " has in this study: expected the same ones, or another --out."));
}

// Of a run that left no checkpoint nothing can go on.
absl::Status Clear(const RunFolder& folder) {
  if (!IsFolder(folder.root)) return absl::OkStatus();
  RETURN_IF_ERROR(FolderLock::Take(folder.root, "another tactus train").status());
  return RemoveFolder(folder.root);
}

}  // namespace

int64_t SamplesPerStep(const PlannedRun& run) {
  const config::RolloutOptions& rollout = run.config->rollout();
  return int64_t{rollout.prompts_per_step()} * rollout.completions_per_prompt();
}

absl::StatusOr<std::vector<PlannedRun>> PlanStudy(const config::StudyPlan& plan, const std::string& folder) {
  std::vector<PlannedRun> runs;
  const auto variants = static_cast<size_t>(plan.variant_size());
  for (const uint64_t seed : plan.seed()) {
    for (size_t variant = 0; variant < variants; ++variant) {
      ASSIGN_OR_RETURN(PlannedRun run, PlanRun(plan, folder, variant, seed));
      runs.push_back(std::move(run));
    }
  }
  for (size_t variant = 0; variant < variants; ++variant) {
    RETURN_IF_ERROR(CheckVariant(plan, runs[variant], runs.front()));
  }
  for (const PlannedRun& run : runs) RETURN_IF_ERROR(CheckFolder(run));
  return runs;
}

bool IsDone(const PlannedRun& run) {
  if (!IsFinished(run.folder)) return false;
  if (run.config->eval().max_prompts() == 0) return true;
  const absl::StatusOr<std::vector<HeldOutRecord>> measured = ReadHeldOut(run.folder.held_out());
  return measured.ok() && !measured->empty() && measured->back().step >= run.config->learner().steps();
}

absl::Status TrainRun(const PlannedRun& run, const config::StudyPlan& plan, const std::string& log) {
  ASSIGN_OR_RETURN(const std::string binaries, BinaryFolder());
  std::vector<std::string> argv = {binaries + "/tactus", "train"};
  if (!NewestCheckpoint(run.folder).empty()) {
    argv.insert(argv.end(), {"--resume", run.folder.root});
  } else {
    RETURN_IF_ERROR(Clear(run.folder));
    argv.insert(argv.end(), {"--config", plan.config(), "--out", run.folder.root});
    for (const std::string& item : run.overrides) argv.insert(argv.end(), {"--set", item});
  }
  argv.insert(argv.end(), {"--learners", absl::StrCat(plan.learners()), "--actors", absl::StrCat(plan.actors())});
  ASSIGN_OR_RETURN(const std::unique_ptr<ChildProcess> train, ChildProcess::Start(argv, log));
  std::optional<int> code;
  for (int told = 0; !code.has_value(); code = train->Wait(kTick)) {
    for (; told < StopSignalCount(); ++told) train->Signal(SIGTERM);
  }
  if (StopSignalCount() > 0) return absl::CancelledError("stopped; the same command goes on.");
  if (*code == kExitOk) return absl::OkStatus();
  if (*code == kExitInterrupted) {
    return absl::CancelledError(absl::StrCat(run.title, " was stopped; the same command goes on."));
  }
  return ErrorOfExit(run.title, *code, absl::StrCat("; the end of ", log, ":\n", LogTail(log, kTailLines)));
}

}  // namespace tactus
