#include <cmath>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/folder_lock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/config/study_plan.h"
#include "proto/config.pb.h"
#include "proto/study.pb.h"
#include "tools/command.h"
#include "tools/job/run_end.h"
#include "tools/job/study_job.h"
#include "tools/report/html_page.h"
#include "tools/study/learning_page.h"
#include "tools/study/learning_study.h"

namespace tactus {
namespace {

struct StudyFlags {
  std::string file;
  std::optional<std::string> out;
  bool check = false;

  void Declare(CLI::App& app) {
    AddArgument(app, file, "the study's plan");
    AddFlag(app, "--out DIR", out, "where the runs are, and the page about them [runs/<plan>]");
    AddSwitch(app, "--check", check, "check every variant, list the runs and what is left of them; train nothing");
  }
};

struct Study {
  config::StudyPlan plan;
  std::string title, folder;
  std::vector<PlannedRun> runs;
};

void Say(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

absl::StatusOr<LearningRun> ReadRun(const PlannedRun& planned, const std::vector<StepRecord>& steps) {
  LearningRun run{.variant = planned.variant, .seed = planned.seed, .samples_per_step = SamplesPerStep(planned)};
  for (const StepRecord& step : steps) {
    run.reward.push_back(step.reward_mean);
    run.time_s.push_back(step.time_s);
  }
  if (steps.size() != static_cast<size_t>(planned.config->learner().steps())) {
    return absl::DataLossError(absl::StrCat(planned.folder.metrics(), " has ", steps.size(), " steps: expected ",
                                            planned.config->learner().steps(), "."));
  }
  ASSIGN_OR_RETURN(run.held_out, ReadHeldOut(planned.folder.held_out()));
  return run;
}

// Reads what has finished and writes results.jsonl, study.json and study.html anew.
absl::StatusOr<std::string> WriteStudy(const Study& study) {
  std::vector<LearningRun> runs;
  std::string lines;
  for (const PlannedRun& planned : study.runs) {
    if (!IsFinished(planned.folder)) continue;
    ASSIGN_OR_RETURN(const std::vector<StepRecord> steps, ReadSteps(planned.folder.metrics()));
    ASSIGN_OR_RETURN(LearningRun run, ReadRun(planned, steps));
    const std::string& variant = study.plan.variant(static_cast<int>(planned.variant)).name();
    absl::StrAppend(&lines, LineOf(run, variant, planned.overrides), "\n");
    runs.push_back(std::move(run));
  }
  const config::StudyPlan& plan = study.plan;
  LearningOptions options{.reward_steps = plan.reward_steps(),
                          .target_reward = plan.has_target_reward() ? plan.target_reward() : std::nan(""),
                          .smallest_effect = plan.smallest_effect()};
  LearningStudyText text{.title = study.title,
                         .plan = config::StudyPlanText(plan),
                         .planned_runs = study.runs.size(),
                         .smallest_effect = plan.smallest_effect(),
                         .reward_steps = plan.reward_steps()};
  for (const config::StudyVariant& variant : plan.variant()) {
    options.variants.push_back(variant.name());
    text.overrides.push_back(variant.set().empty() ? "none" : absl::StrJoin(variant.set(), ", "));
  }
  const LearningSummary summary = SummarizeLearning(runs, options);
  RETURN_IF_ERROR(WriteFileAtomic(study.folder + "/results.jsonl", lines));
  RETURN_IF_ERROR(WriteFileAtomic(study.folder + "/study.json", LearningJson(text, summary)));
  RETURN_IF_ERROR(WriteFileAtomic(study.folder + "/study.html", LearningPageHtml(text, summary)));
  return LearningTable(text, summary);
}

absl::StatusOr<std::string> EndOf(const PlannedRun& planned) {
  ASSIGN_OR_RETURN(const std::vector<StepRecord> steps, ReadSteps(planned.folder.metrics()));
  ASSIGN_OR_RETURN(const LearningRun run, ReadRun(planned, steps));
  const double held_out = OutcomeOf(run, Outcome::kHeldOut, 1);
  return absl::StrCat("trained in ", DurationText(run.time_s.back()),
                      std::isfinite(held_out) ? absl::StrFormat(", held-out pass@1 %.3f", held_out) : "", "\n",
                      RewardLine(steps));
}

// All that is left of the runs, in their order.
absl::Status TrainAll(const Study& study) {
  for (size_t i = 0; i < study.runs.size(); ++i) {
    const PlannedRun& run = study.runs[i];
    if (IsDone(run)) continue;
    if (StopSignalCount() > 0) return absl::CancelledError("stopped; the same command goes on.");
    const std::string title = absl::StrFormat("[%d/%d] %s", i + 1, study.runs.size(), run.title);
    Say(absl::StrCat(title, NewestCheckpoint(run.folder).empty() ? ": begins" : ": goes on"));
    RETURN_IF_ERROR(TrainRun(run, study.plan, absl::StrCat(study.folder, "/logs/", NameOf(run.folder.root), ".log")));
    ASSIGN_OR_RETURN(const std::string end, EndOf(run));
    std::fprintf(stderr, "%s: %s", title.c_str(), end.c_str());
    RETURN_IF_ERROR(WriteStudy(study).status());
  }
  return absl::OkStatus();
}

void List(const Study& study) {
  for (const PlannedRun& run : study.runs) {
    const bool begun = !NewestCheckpoint(run.folder).empty();
    std::printf("%-12s %s  %s\n",
                IsDone(run) ? "done"
                : begun     ? "half done"
                            : "to be done",
                run.folder.root.c_str(), absl::StrJoin(run.overrides, " ").c_str());
  }
}

absl::Status Run(const StudyFlags& flags) {
  Study study;
  ASSIGN_OR_RETURN(study.plan, config::LoadStudyPlan(flags.file));
  study.title = std::filesystem::path(flags.file).stem().string();
  study.folder = flags.out.value_or(absl::StrCat("runs/", study.title));
  ASSIGN_OR_RETURN(study.runs, PlanStudy(study.plan, study.folder));
  if (flags.check) {
    List(study);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(MakeFolders(study.folder + "/logs"));
  ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Take(study.folder, "another tactus study"));
  RETURN_IF_ERROR(WriteFileAtomic(study.folder + "/study.textproto", config::StudyPlanText(study.plan)));
  CatchStopSignals();
  const absl::Status trained = TrainAll(study);
  const absl::StatusOr<std::string> table = WriteStudy(study);
  if (table.ok()) {
    Say(absl::StrCat("\n", *table));
    std::printf("%s/study.html\n", study.folder.c_str());
  }
  return trained.ok() ? table.status() : trained;
}

}  // namespace

constinit const Command kStudyCommand = {
    .name = "study",
    .summary = "Trains several variants with several seeds, one run after another, and compares them on one page",
    .synopsis = "FILE [--out DIR] [--check]",
    .example = "tactus study configs/studies/credit.textproto",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
