#include "tools/job/train_eval.h"

#include <csignal>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/monotonic_clock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/base/strict_json.h"
#include "proto/config.pb.h"
#include "tools/job/child_process.h"

namespace tactus {
namespace {

constexpr absl::Duration kTimeout = absl::Minutes(60);
constexpr absl::Duration kTick = absl::Milliseconds(100);

}  // namespace

absl::StatusOr<HeldOutRecord> MeasureHeldOut(const TrainJobOptions& options, const std::string& model_folder,
                                             int64_t step, const std::string& name) {
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> measured, ReadHeldOut(options.folder.held_out()));
  for (const HeldOutRecord& record : measured) {
    if (record.step == step) return record;
  }
  const std::string log = absl::StrCat(options.folder.logs(), "/eval-", name, ".json");
  RETURN_IF_ERROR(RemoveFile(log));  // a child appends
  const config::EvalOptions& eval = options.config->eval();
  ASSIGN_OR_RETURN(
      const std::unique_ptr<ChildProcess> process,
      ChildProcess::Start({absl::StrCat(options.binary_folder, "/tactus"), "eval", "--model", model_folder, "--config",
                           options.folder.config(), "--prompts", absl::StrCat(eval.max_prompts()), "--samples",
                           absl::StrCat(eval.samples_per_prompt())},
                          log));
  const absl::Time deadline = MonotonicNow() + kTimeout;
  std::optional<int> code;
  while (!(code = process->Wait(kTick)).has_value()) {
    if (StopSignalCount() == 0 && MonotonicNow() < deadline) continue;
    process->Signal(SIGKILL);
    return absl::CancelledError("the evaluation on held-out prompts was stopped");
  }
  if (*code != 0) return absl::InternalError(absl::StrCat("tactus eval failed: ", LogTail(log, 3)));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(log));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, log));
  ASSIGN_OR_RETURN(const JsonField rate, JsonField(json, log).Member("pass@1"));
  HeldOutRecord record{.step = step};
  JSON_MEMBER(record.pass1, rate, "value", Number());
  JSON_MEMBER(record.low, rate, "low", Number());
  JSON_MEMBER(record.high, rate, "high", Number());
  RETURN_IF_ERROR(AppendHeldOut(options.folder.held_out(), record));
  return record;
}

}  // namespace tactus
