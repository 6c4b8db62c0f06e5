#include "tools/job/train_eval.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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

bool LauncherMeasures(const config::RunConfig& config) {
  return config.eval().max_prompts() > 0 && config.eval().by() == config::EvalOptions::LAUNCHER;
}

HeldOutEvaluation::HeldOutEvaluation(RunFolder folder, int64_t step, std::vector<Part> parts)
    : folder_(std::move(folder)), step_(step), parts_(std::move(parts)) {}

absl::StatusOr<std::unique_ptr<HeldOutEvaluation>> HeldOutEvaluation::Start(const TrainJobOptions& options,
                                                                            const std::string& model_folder,
                                                                            int64_t step, const std::string& name) {
  const config::EvalOptions& eval = options.config->eval();
  const std::string base = absl::StrCat(options.folder.logs(), "/eval-", name);
  const auto command = [&](int prompts, int samples, double temperature, const std::string& test_path) {
    std::vector<std::string> words = {absl::StrCat(options.binary_folder, "/tactus"),
                                      "eval",
                                      "--model",
                                      model_folder,
                                      "--config",
                                      options.folder.config(),
                                      "--prompts",
                                      absl::StrCat(prompts),
                                      "--samples",
                                      absl::StrCat(samples),
                                      "--temperature",
                                      absl::StrCat(temperature)};
    if (!test_path.empty()) words.insert(words.end(), {"--set", absl::StrCat("task.test_path=", test_path)});
    return words;
  };
  std::vector<Part> parts;
  parts.push_back({.set = "",
                   .command = command(eval.max_prompts(), eval.samples_per_prompt(), eval.temperature(), ""),
                   .base = base});
  for (const config::EvalSet& set : eval.sets()) {
    parts.push_back(
        {.set = set.name(),
         .command = command(set.max_prompts(), set.samples_per_prompt(), set.temperature(), set.test_path()),
         .base = absl::StrCat(base, "-", set.name())});
  }
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> measured, ReadHeldOutSets(options.folder.held_out()));
  std::optional<HeldOutRecord> own;
  for (const HeldOutRecord& record : measured) {
    if (record.step != step) continue;
    std::erase_if(parts, [&record](const Part& part) { return part.set == record.set; });
    if (record.set.empty()) own = record;
  }
  std::unique_ptr<HeldOutEvaluation> evaluation(new HeldOutEvaluation(options.folder, step, std::move(parts)));
  evaluation->own_ = std::move(own);
  RETURN_IF_ERROR(evaluation->Begin());
  return evaluation;
}

absl::Status HeldOutEvaluation::Begin() {
  process_.reset();
  if (next_ == parts_.size()) return absl::OkStatus();
  const Part& part = parts_[next_];
  const std::string log = part.base + ".log";
  RETURN_IF_ERROR(RemoveFile(log));  // a child appends
  deadline_ = MonotonicNow() + kTimeout;
  ASSIGN_OR_RETURN(process_, ChildProcess::Start(part.command, log, {}, part.base + ".json"));
  return absl::OkStatus();
}

std::optional<absl::StatusOr<HeldOutRecord>> HeldOutEvaluation::Wait(absl::Duration patience) {
  if (process_ != nullptr) {
    const std::optional<int> code = process_->Wait(patience);
    if (!code.has_value() && MonotonicNow() < deadline_) return std::nullopt;
    if (!code.has_value()) {
      process_->Signal(SIGKILL);
      return absl::InternalError(absl::StrCat("tactus eval took longer than ", absl::FormatDuration(kTimeout)));
    }
    absl::Status status = End(*code);
    if (status.ok()) status = Begin();
    if (!status.ok()) return status;
    if (process_ != nullptr) return std::nullopt;
  }
  return *own_;  // it is the first part, unless it was there before
}

// Makes the summary of the part that has ended a line of held_out.jsonl.
absl::Status HeldOutEvaluation::End(int exit_code) {
  const Part& part = parts_[next_++];
  if (exit_code != 0) {
    return absl::InternalError(absl::StrCat("tactus eval failed: ", LogTail(process_->log_path(), 3)));
  }
  const std::string summary = part.base + ".json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(summary));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, summary));
  ASSIGN_OR_RETURN(const JsonField rate, JsonField(json, summary).Member("pass@1"));
  HeldOutRecord record{.step = step_};
  record.set = part.set;
  JSON_MEMBER(record.pass1, rate, "value", Number());
  JSON_MEMBER(record.low, rate, "low", Number());
  JSON_MEMBER(record.high, rate, "high", Number());
  JSON_MEMBER(record.samples, JsonField(json, summary), "samples_per_prompt", Integer());
  JSON_MEMBER(record.temperature, JsonField(json, summary), "temperature", Number());
  if (record.samples > 1) {
    ASSIGN_OR_RETURN(const JsonField any, JsonField(json, summary).Member(absl::StrCat("pass@", record.samples)));
    JSON_MEMBER(record.pass_k, any, "value", Number());
    JSON_MEMBER(record.pass_k_low, any, "low", Number());
    JSON_MEMBER(record.pass_k_high, any, "high", Number());
  }
  RETURN_IF_ERROR(AppendHeldOut(folder_.held_out(), record));
  if (record.set.empty()) own_ = std::move(record);
  return absl::OkStatus();
}

absl::StatusOr<HeldOutRecord> MeasureHeldOut(const TrainJobOptions& options, const std::string& model_folder,
                                             int64_t step, const std::string& name) {
  ASSIGN_OR_RETURN(const std::unique_ptr<HeldOutEvaluation> running,
                   HeldOutEvaluation::Start(options, model_folder, step, name));
  while (StopSignalCount() == 0) {
    if (auto result = running->Wait(kTick); result.has_value()) return *std::move(result);
  }
  return absl::CancelledError("the evaluation on held-out prompts was stopped");
}

CheckpointEvaluations::CheckpointEvaluations(const TrainJobOptions& options) : options_(options) {
  for (const HeldOutRecord& record : ReadHeldOut(options.folder.held_out()).value_or(std::vector<HeldOutRecord>())) {
    measured_step_ = std::max(measured_step_, record.step);
  }
}

CheckpointEvaluations::~CheckpointEvaluations() {
  running_.reset();
  if (!held_.empty()) RemoveFolder(held_).IgnoreError();  // the next start removes what is left
}

std::string CheckpointEvaluations::Poll() {
  if (running_ == nullptr) return Begin();
  const auto result = running_->Wait(absl::ZeroDuration());
  return result.has_value() ? End(*result) : "";
}

std::string CheckpointEvaluations::Finish() {
  while (running_ != nullptr && StopSignalCount() == 0) {
    if (const auto result = running_->Wait(kTick); result.has_value()) return End(*result);
  }
  return "";
}

std::string CheckpointEvaluations::Begin() {
  const config::EvalOptions& eval = options_.config->eval();
  if (!LauncherMeasures(*options_.config) || eval.every_steps() == 0) return "";
  const std::string newest = NewestCheckpoint(options_.folder);
  int64_t step = 0;
  if (newest.empty() || !absl::SimpleAtoi(newest.substr(newest.rfind('-') + 1), &step)) return "";
  // The last one is measured when the training is over, with nothing beside it.
  if (step < measured_step_ + eval.every_steps() || step >= options_.config->learner().steps()) return "";
  // As what a killed learner leaves: the next one removes it.
  held_ = absl::StrCat(options_.folder.checkpoints(), "/.", CheckpointName(step), ".eval.tmp");
  if (!LinkFolder(newest, held_).ok()) {  // it was removed meanwhile: a newer one is there
    RemoveFolder(std::exchange(held_, "")).IgnoreError();
    return "";
  }
  measured_step_ = step;
  auto started = HeldOutEvaluation::Start(options_, absl::StrCat(held_, "/model"), step, CheckpointName(step));
  if (!started.ok()) return End(started.status());
  running_ = *std::move(started);
  return "";
}

std::string CheckpointEvaluations::End(const absl::StatusOr<HeldOutRecord>& measured) {
  running_.reset();
  const absl::Status kept = measured.ok() ? KeepIfBest(options_.folder, held_, *measured) : measured.status();
  RemoveFolder(held_).IgnoreError();
  held_.clear();
  if (!kept.ok()) return absl::StrCat("after step ", measured_step_, ": ", kept.message());
  return absl::StrFormat("after step %d: held-out pass@1 %.3f [%.3f, %.3f]", measured->step, measured->pass1,
                         measured->low, measured->high);
}

}  // namespace tactus
