#include "tools/job/run_end.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/metrics/held_out.h"
#include "proto/config.pb.h"
#include "tools/report/html_page.h"

namespace tactus {

std::string RewardLine(const std::vector<StepRecord>& steps) {
  const StepTrend reward = TrendOf(steps, &StepRecord::reward_mean);
  if (reward.steps == 0) return "";
  return absl::StrFormat("  reward       %.3f -> %.3f, means of the first and the last %d steps\n", reward.first,
                         reward.last, reward.steps);
}

std::string CheckpointLine(const RunFolder& folder) {
  const std::string checkpoint = NewestCheckpoint(folder);
  std::string text = absl::StrCat("  checkpoint   ", checkpoint.empty() ? "none" : checkpoint, "\n");
  const absl::StatusOr<std::optional<BestCheckpoint>> best = FindBestCheckpoint(folder);
  if (best.ok() && best->has_value()) {
    absl::StrAppendFormat(&text, "  best         %s, held-out pass@1 %.3f\n", (*best)->path, (*best)->held_out.pass1);
  }
  return text;
}

absl::StatusOr<std::string> RunEnd(const RunFolder& folder) {
  ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(folder.config(), {}));
  ASSIGN_OR_RETURN(const std::vector<StepRecord> steps, ReadSteps(folder.metrics()));
  if (steps.empty()) return absl::NotFoundError(absl::StrCat(folder.root, " has trained no step."));
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> held_out, ReadHeldOut(folder.held_out()));
  const bool finished = steps.back().step >= run.learner().steps();
  std::string text = absl::StrFormat("%s: no process runs; %s after %d of %d steps in %s.\n", folder.root,
                                     finished ? "finished" : "ended", steps.back().step, run.learner().steps(),
                                     DurationText(steps.back().time_s));
  absl::StrAppend(&text, RewardLine(steps));
  for (size_t i = 0; i < held_out.size(); ++i) {
    if (i > 0 && i + 1 < held_out.size()) continue;  // the report draws those between
    const HeldOutRecord& rate = held_out[i];
    absl::StrAppendFormat(&text, "  held-out     pass@1 %.3f [%.3f, %.3f] after step %d\n", rate.pass1, rate.low,
                          rate.high, rate.step);
  }
  absl::StrAppend(&text, CheckpointLine(folder));
  std::error_code ignored;
  if (std::filesystem::exists(folder.report(), ignored)) {
    absl::StrAppend(&text, "  report       ", folder.report(), "\n");
  }
  if (!finished) absl::StrAppend(&text, "  go on with   tactus train --resume ", folder.root, "\n");
  return text;
}

bool IsFinished(const RunFolder& folder) {
  const absl::StatusOr<config::RunConfig> run = config::LoadRunConfig(folder.config(), {});
  const absl::StatusOr<std::vector<StepRecord>> steps = ReadSteps(folder.metrics());
  return run.ok() && steps.ok() && !steps->empty() && steps->back().step >= run->learner().steps();
}

}  // namespace tactus
