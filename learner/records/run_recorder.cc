#include "learner/records/run_recorder.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/data/codec.h"
#include "common/data/turns.h"
#include "common/metrics/process_metrics.h"

namespace tactus {
namespace {

constexpr size_t kSampledGroups = 2;    // of a step's groups
constexpr size_t kSamplesPerGroup = 2;  // of a group's completions
constexpr int64_t kMaxSamplesBytes = 256 << 20;
constexpr int64_t kMaxTimelineBytes = 64 << 20;

// The mean credit weight of all tokens, and the share that has more than 1. The number of tokens.
double FillCredit(const std::vector<TrajectoryGroup>& groups, StepRecord& record) {
  double tokens = 0, amplified = 0, credit = 0;
  for (const TrajectoryGroup& group : groups) {
    for (const Completion& completion : group.completions) {
      tokens += static_cast<double>(SampledTokens(completion));
      for (const float gamma : completion.credit) {
        credit += gamma;
        amplified += gamma > 1 ? 1 : 0;
      }
    }
  }
  record.credit_mean = credit / std::max(1.0, tokens);
  record.credit_amplified_share = amplified / std::max(1.0, tokens);
  return tokens;
}

void FillSources(const std::vector<std::string>& sources, const std::vector<TrajectoryGroup>& groups,
                 StepRecord& record) {
  struct Sums {
    double groups = 0, answers = 0, reward = 0, correct = 0;
  };
  std::map<std::string, Sums> by_name;
  for (size_t g = 0; g < sources.size(); ++g) {
    Sums& sums = by_name[sources[g]];
    ++sums.groups;
    for (const Completion& completion : groups[g].completions) {
      ++sums.answers;
      sums.reward += completion.reward.total;
      sums.correct += completion.reward.correct;
    }
  }
  for (const auto& [name, sums] : by_name) {
    record.sources.push_back({.name = name,
                              .groups = sums.groups,
                              .reward_mean = sums.reward / sums.answers,
                              .correct_rate = sums.correct / sums.answers});
  }
}

const char* KindOf(const TrajectoryGroup& group) {
  const auto passed = std::ranges::count_if(group.completions,
                                            [](const Completion& completion) { return completion.reward.correct > 0; });
  if (passed == 0) return "all_fail";
  return passed == std::ssize(group.completions) ? "all_pass" : "informative";
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunRecorder>> RunRecorder::Open(const RunFolder& folder, int64_t last_step,
                                                               const RhythmSummaryOptions& rhythm,
                                                               const Tokenizer* tokenizer, MetricSet* metrics) {
  std::unique_ptr<RunRecorder> recorder(new RunRecorder(folder, rhythm, tokenizer, metrics));
  ASSIGN_OR_RETURN(recorder->steps_, JsonlWriter::Open(folder.metrics(), last_step));
  ASSIGN_OR_RETURN(recorder->samples_, JsonlWriter::Open(folder.samples(), last_step));
  ASSIGN_OR_RETURN(recorder->timeline_, JsonlWriter::Open(folder.timeline(), last_step));
  ASSIGN_OR_RETURN(recorder->tensorboard_, TensorBoardWriter::Open(folder.tensorboard(), last_step + 1));
  if (last_step > 0) {
    ASSIGN_OR_RETURN(const std::vector<StepRecord> history, ReadSteps(folder.metrics()));
    if (!history.empty()) recorder->time_s_ = history.back().time_s;
  }
  ASSIGN_OR_RETURN(const std::vector<HeldOutRecord> measured, ReadHeldOutSets(folder.held_out()));
  for (const HeldOutRecord& record : measured) recorder->ShowHeldOut(record);
  recorder->cpu_seconds_ = ProcessCpuSeconds();
  return recorder;
}

absl::Status RunRecorder::Record(const StepContext& context, StepRecord record,
                                 const std::vector<TrajectoryGroup>& groups) {
  FillRecord(context, groups, record);
  RETURN_IF_ERROR(steps_->WriteStep(record));
  RETURN_IF_ERROR(WriteSources(record));
  RETURN_IF_ERROR(tensorboard_->WriteStep(record));  // after the scalars, which it brings to the file
  RETURN_IF_ERROR(WriteSamples(context, groups));
  RETURN_IF_ERROR(timeline_->HalveAbove(kMaxTimelineBytes));
  RETURN_IF_ERROR(timeline_->WriteTimeline(context.timeline));
  Expose(context, record);
  ExposeGroups(context, groups);
  return absl::OkStatus();
}

absl::Status RunRecorder::RecordHeldOut(const HeldOutRecord& measured) {
  RETURN_IF_ERROR(AppendHeldOut(folder_.held_out(), measured));
  for (const auto& [score, value] : ScoresOf(measured)) {
    RETURN_IF_ERROR(tensorboard_->WriteScalar(
        measured.step, absl::StrCat("eval_", config::EvalSetName(measured.set), "/", score), value));
  }
  return tensorboard_->WriteStep(ShowHeldOut(measured));
}

absl::Status RunRecorder::WriteSources(const StepRecord& record) {
  for (const SourceStep& source : record.sources) {
    metrics_->SetOf(Metric::kSourceReward, source.name, source.reward_mean, "total");
    metrics_->SetOf(Metric::kSourceReward, source.name, source.correct_rate, "correct");
    const std::string folder = absl::StrCat("source_", source.name, "/");
    RETURN_IF_ERROR(tensorboard_->WriteScalar(record.step, folder + "groups", source.groups));
    RETURN_IF_ERROR(tensorboard_->WriteScalar(record.step, folder + "reward_mean", source.reward_mean));
    RETURN_IF_ERROR(tensorboard_->WriteScalar(record.step, folder + "correct_rate", source.correct_rate));
  }
  return absl::OkStatus();
}

StepRecord RunRecorder::ShowHeldOut(const HeldOutRecord& measured) {
  for (const auto& [score, value] : ScoresOf(measured)) {
    metrics_->SetOf(Metric::kEvalSetScore, config::EvalSetName(measured.set), value, score);
  }
  StepRecord alone;
  alone.step = measured.step;
  if (!measured.set.empty()) return alone;
  held_out_.push_back(measured);
  SetHeldOut(measured, &alone);
  metrics_->SetStep(alone);
  return alone;
}

absl::Status RunRecorder::Sync() const {
  absl::Status status;
  for (const std::string& path :
       {folder_.metrics(), folder_.samples(), folder_.timeline(), tensorboard_->path(), folder_.root}) {
    status.Update(SyncPath(path));
  }
  return status;
}

void RunRecorder::FillRecord(const StepContext& context, const std::vector<TrajectoryGroup>& groups,
                             StepRecord& record) {
  record.step = context.step;
  record.version = VersionName(context.version);
  record.time_s = time_s_ += context.step_time_s;
  record.tokens_generated_per_s = FillCredit(groups, record) / context.step_time_s;
  record.tokens_trained_per_s = (record.completion_tokens + record.prompt_tokens) / context.step_time_s;
  record.skipped_steps = static_cast<double>(context.skipped_steps);
  record.step_time_s = context.step_time_s;
  record.phase_wait_s = context.wait_s;
  record.phase_publish_s = context.publish_s;
  record.phase_checkpoint_s = context.checkpoint_s;
  record.actors_connected = context.actors_connected;
  record.groups_dropped_stale = static_cast<double>(context.counters[DropReason::kStale]);
  record.groups_replaced = static_cast<double>(context.counters[DropReason::kNoSignal]);
  if (context.prompts.has_value()) {
    record.prompts_never_solved_share = context.prompts->never_share;
    record.prompts_always_solved_share = context.prompts->always_share;
    record.prompts_passed_over = static_cast<double>(context.prompts->passed_over);
  }
  FillSources(context.sources, groups, record);
  FillRhythmSummary(groups, context.before, rhythm_, &record);
  JoinHeldOut(held_out_, &record);
  const double cpu_seconds = ProcessCpuSeconds();
  record.cpu_share_learner = (cpu_seconds - cpu_seconds_) / context.step_time_s;
  cpu_seconds_ = cpu_seconds;
}

// Audited groups come first: only they have attention to look at.
absl::Status RunRecorder::WriteSamples(const StepContext& context, const std::vector<TrajectoryGroup>& groups) {
  RETURN_IF_ERROR(samples_->HalveAbove(kMaxSamplesBytes));
  std::vector<size_t> order(groups.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_partition(order.begin(), order.end(), [&groups](size_t g) {
    return !groups[g].completions.empty() && groups[g].completions.front().rhythm.has_value();
  });
  order.resize(std::min(kSampledGroups, order.size()));
  for (const size_t g : order) {
    for (size_t c = 0; c < std::min(kSamplesPerGroup, groups[g].completions.size()); ++c) {
      SampleRecord sample = MakeSample(context.step, groups[g], c);
      if (!context.sources.empty()) sample.source = context.sources[g];
      RETURN_IF_ERROR(samples_->WriteSample(sample));
    }
  }
  return absl::OkStatus();
}

SampleRecord RunRecorder::MakeSample(int64_t step, const TrajectoryGroup& group, size_t index) const {
  const Completion& completion = group.completions[index];
  SampleRecord sample;
  sample.step = step;
  sample.version = VersionName(completion.versions.front().version);
  sample.prompt_id = group.prompt_id;
  sample.completion = static_cast<int>(index);
  sample.prompt = DecodeLossy(*tokenizer_, group.prompt_token_ids, /*skip_special_tokens=*/false);
  sample.text = DecodeLossy(*tokenizer_, completion.token_ids, /*skip_special_tokens=*/true);
  for (const TokenId& id : completion.token_ids) {
    sample.tokens.push_back(DecodeLossy(*tokenizer_, std::span(&id, 1), /*skip_special_tokens=*/false));
  }
  sample.gamma.assign(completion.credit.begin(), completion.credit.end());
  sample.logprobs.assign(completion.logprobs.begin(), completion.logprobs.end());
  sample.reward = completion.reward.total;
  sample.correct = completion.reward.correct > 0;
  sample.reason = completion.reward.reason;
  sample.prompt_ids = group.prompt_token_ids;
  sample.token_ids = completion.token_ids;
  for (const VersionSpan& span : completion.versions) {
    sample.versions.push_back({span.start_token, VersionName(span.version)});
  }
  sample.entropy.assign(completion.entropy.begin(), completion.entropy.end());
  if (!completion.turns.empty()) sample.sampled = PlacesOf(completion.turns, completion.token_ids.size());
  if (completion.rhythm.has_value()) {
    const RhythmRecord& rhythm = *completion.rhythm;
    sample.waad.assign(rhythm.waad.begin(), rhythm.waad.end());
    sample.fai.assign(rhythm.fai.begin(), rhythm.fai.end());
    sample.layers = rhythm_.layers;
    sample.span.assign(completion.head_spans.begin(), completion.head_spans.end());
    sample.local_heads = rhythm.heads.local;
    sample.global_heads = rhythm.heads.global;
  }
  return sample;
}

void ExposePhases(const StepRecord& record, MetricSet& metrics) {
  metrics.Add(Metric::kLearnerPhaseSeconds, record.phase_forward_s, "forward");
  metrics.Add(Metric::kLearnerPhaseSeconds, record.phase_backward_s, "backward");
  metrics.Add(Metric::kLearnerPhaseSeconds, record.phase_allreduce_s, "allreduce");
  metrics.Add(Metric::kLearnerPhaseSeconds, record.phase_optimizer_s, "optimizer");
}

void RunRecorder::Expose(const StepContext& context, const StepRecord& record) {
  using enum Metric;
  MetricSet& m = *metrics_;
  m.SetStep(record);
  m.Set(kLearnerStep, static_cast<double>(context.step));
  m.Add(kLearnerSteps, record.updates - record.skipped_updates, "applied");
  m.Add(kLearnerSteps, record.skipped_updates, "skipped");
  m.Observe(kLearnerStepDuration, context.step_time_s);
  ExposePhases(record, m);
  m.Add(kLearnerPhaseSeconds, context.publish_s, "publish");
  m.Set(kLearnerLastStepTimestamp, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  m.Add(kLearnerTokens, record.prompt_tokens, "prompt");
  m.Add(kLearnerTokens, record.completion_tokens, "completion");
  m.Add(kLearnerModelFlops,
        6 * static_cast<double>(context.parameters) * (record.prompt_tokens + record.completion_tokens));
  m.Set(kWeightVersion, static_cast<double>(context.version.step));
  m.Add(kWeightTransferBytes, static_cast<double>(context.weight_bytes_sent - weight_bytes_sent_));
  weight_bytes_sent_ = context.weight_bytes_sent;
  m.Add(kNonfiniteValues, record.skipped_updates, "gradient");
  m.Add(kNonfiniteValues, std::isfinite(record.loss) ? 0 : 1, "loss");
  m.Add(kRhythmAudited, record.audited_completions);
}

void RunRecorder::ExposeGroups(const StepContext& context, const std::vector<TrajectoryGroup>& groups) {
  using enum Metric;
  MetricSet& m = *metrics_;
  const uint64_t trained = context.before.step;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const Completion& completion : groups[g].completions) {
      const bool pass = completion.reward.correct > 0;
      m.Add(kVerdicts, 1, pass ? "pass" : completion.reward.reason == kUndecodableReason ? "error" : "fail");
      m.Observe(kCompletionTokens, static_cast<double>(SampledTokens(completion)));
      if (completion.finish_reason == FinishReason::kLength) m.Add(kCompletionsTruncated, 1);
      const uint64_t sampled = completion.versions.front().version.step;
      m.Observe(kTrajectoryStaleness, static_cast<double>(trained - std::min(trained, sampled)));
    }
    m.Add(kGroups, 1, KindOf(groups[g]));
    if (!context.sources.empty()) m.AddOf(kSourceGroups, context.sources[g], 1, KindOf(groups[g]));
  }
}

}  // namespace tactus
