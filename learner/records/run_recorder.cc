#include "learner/records/run_recorder.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/metrics/process_metrics.h"

namespace tactus {
namespace {

constexpr size_t kSampledGroups = 2;    // of a step's groups
constexpr size_t kSamplesPerGroup = 2;  // of a group's completions

// Means over all completions of a batch.
struct BatchMeans {
  double format_rate = 0;      // share that is at least well-formed
  double credit = 0;           // mean gamma over tokens
  double amplified_share = 0;  // tokens with gamma > 1
  int64_t tokens = 0;
};

BatchMeans MeansOf(const std::vector<TrajectoryGroup>& groups) {
  BatchMeans means;
  double completions = 0, amplified = 0, credit = 0;
  for (const TrajectoryGroup& group : groups) {
    for (const Completion& completion : group.completions) {
      ++completions;
      means.format_rate += completion.reward.format > 0 || completion.reward.correct > 0 ? 1 : 0;
      means.tokens += static_cast<int64_t>(completion.token_ids.size());
      for (const float gamma : completion.credit) {
        credit += gamma;
        amplified += gamma > 1 ? 1 : 0;
      }
    }
  }
  const double tokens = std::max<double>(1, static_cast<double>(means.tokens));
  means.format_rate /= std::max(1.0, completions);
  means.credit = credit / tokens;
  means.amplified_share = amplified / tokens;
  return means;
}

// Gauges that show a field of the record.
struct RecordGauge {
  Metric metric;
  const char* label;
  double StepRecord::*member;
};

constexpr RecordGauge kRecordGauges[] = {
    {Metric::kCreditMean, "", &StepRecord::credit_mean},
    {Metric::kCreditAmplified, "applied", &StepRecord::credit_amplified_share},
    {Metric::kCreditAmplified, "local_chunk", &StepRecord::credit_local_chunk_share},
    {Metric::kCreditAmplified, "global_anchor", &StepRecord::credit_global_anchor_share},
    {Metric::kCreditAmplified, "coupled", &StepRecord::credit_coupled_share},
    {Metric::kCreditAmplified, "entropy", &StepRecord::credit_entropy_share},
    {Metric::kCreditOverlap, "local_chunk_global_anchor", &StepRecord::overlap_local_global},
    {Metric::kCreditOverlap, "coupled_entropy", &StepRecord::overlap_coupled_entropy},
    {Metric::kCreditOverlap, "global_anchor_entropy", &StepRecord::overlap_global_entropy},
    {Metric::kCreditOverlap, "local_chunk_entropy", &StepRecord::overlap_local_entropy},
    {Metric::kCreditLag, "mean", &StepRecord::gamma_version_lag_mean},
    {Metric::kCreditLag, "max", &StepRecord::gamma_version_lag_max},
    {Metric::kRhythmPeakCorrelation, "", &StepRecord::waad_peak_entropy_corr},
    {Metric::kRhythmWaad, "mean", &StepRecord::waad_mean},
    {Metric::kRhythmWaad, "p10", &StepRecord::waad_p10},
    {Metric::kRhythmWaad, "p50", &StepRecord::waad_p50},
    {Metric::kRhythmWaad, "p90", &StepRecord::waad_p90},
    {Metric::kRhythmFai, "mean", &StepRecord::fai_mean},
    {Metric::kRhythmFai, "p10", &StepRecord::fai_p10},
    {Metric::kRhythmFai, "p50", &StepRecord::fai_p50},
    {Metric::kRhythmFai, "p90", &StepRecord::fai_p90},
};

StepRecord MakeRecord(const StepContext& context, const StepStats& stats, const BatchMeans& means) {
  StepRecord record;
  record.step = context.step;
  record.version = VersionName(context.version);
  record.reward_mean = stats.reward_mean;
  record.reward_std = stats.reward_std;
  record.correct_rate = stats.correct_rate;
  record.format_rate = means.format_rate;
  record.completion_tokens_mean = stats.completion_tokens_mean;
  record.tokens_generated_per_s = static_cast<double>(means.tokens) / context.step_time_s;
  record.tokens_trained_per_s =
      static_cast<double>(stats.completion_tokens + stats.prompt_tokens) / context.step_time_s;
  record.loss = stats.loss;
  record.grad_norm = stats.grad_norm;
  record.lr = stats.lr;
  record.kl_k3 = stats.kl_reference;
  record.clip_fraction = stats.clip_fraction();
  record.entropy_mean = stats.entropy_mean;
  record.mismatch_mean = stats.mismatch.mean_abs;
  record.mismatch_max = stats.mismatch.max_abs;
  record.mismatch_kl = stats.mismatch.kl;
  record.tis_mean = stats.tis_weight_mean;
  record.staleness_mean = stats.staleness_mean;
  record.staleness_max = stats.staleness_max;
  record.zero_signal_share = stats.zero_signal_share;
  record.skipped_steps = static_cast<double>(context.skipped_steps);
  record.step_time_s = context.step_time_s;
  record.phase_wait_s = context.wait_s;
  record.phase_forward_s = stats.seconds.forward;
  record.phase_backward_s = stats.seconds.backward;
  record.phase_allreduce_s = stats.seconds.allreduce;
  record.phase_optimizer_s = stats.seconds.optimizer;
  record.phase_publish_s = context.publish_s;
  record.phase_checkpoint_s = context.checkpoint_s;
  record.actors_connected = context.actors_connected;
  record.groups_dropped_stale = static_cast<double>(context.counters[DropReason::kStale]);
  record.credit_mean = means.credit;
  record.credit_amplified_share = means.amplified_share;
  return record;
}

// Gauges of the last step; a value that is not finite leaves the one before, and is counted with the step's loss.
void ExposePolicy(const StepStats& stats, MetricSet& m) {
  using enum Metric;
  if (std::isfinite(stats.loss)) {
    m.Set(kLoss, stats.loss, "total");
    m.Set(kLoss, stats.kl_loss, "kl");
    m.Set(kLoss, stats.loss - stats.kl_loss, "policy");
  }
  m.Set(kGradientNorm, stats.grad_norm);
  m.Set(kLearningRate, stats.lr);
  m.Set(kPolicyEntropy, stats.entropy_mean);
  m.Set(kPolicyKl, stats.kl_reference, "reference");
  m.Set(kPolicyKl, stats.kl_old, "behaviour");
  m.Set(kSamplerMismatchKl, stats.mismatch.kl);
  m.Set(kSamplerMismatchLogprob, stats.mismatch.mean_abs, "mean");
  m.Set(kSamplerMismatchLogprob, stats.mismatch.max_abs, "max");
  m.Set(kImportanceWeight, stats.tis_weight_mean, "mean");
  m.Set(kImportanceWeight, stats.tis_weight_max, "max");
  m.Set(kImportanceWeightCapped, stats.tis_capped_share);
  m.Set(kClipRatio, stats.clip_low_fraction, "low");
  m.Set(kClipRatio, stats.clip_high_fraction, "high");
  m.Set(kAdvantage, stats.advantage_mean, "mean");
  m.Set(kAdvantage, stats.advantage_min, "min");
  m.Set(kAdvantage, stats.advantage_max, "max");
  m.Set(kRewardMean, stats.reward_mean, "total");
  m.Set(kRewardMean, stats.correct_rate, "correct");
  m.Set(kRewardMean, stats.reward_mean - stats.correct_rate, "format");
  m.Set(kRewardStddev, stats.reward_std);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunRecorder>> RunRecorder::Open(const RunFolder& folder, int64_t last_step,
                                                               const RhythmSummaryOptions& rhythm,
                                                               const Tokenizer* tokenizer, MetricSet* metrics) {
  std::unique_ptr<RunRecorder> recorder(new RunRecorder(rhythm, tokenizer, metrics));
  ASSIGN_OR_RETURN(recorder->steps_, JsonlWriter::Open(folder.metrics(), last_step));
  ASSIGN_OR_RETURN(recorder->samples_, JsonlWriter::Open(folder.samples(), last_step));
  ASSIGN_OR_RETURN(recorder->tensorboard_, TensorBoardWriter::Open(folder.tensorboard(), last_step + 1));
  if (last_step > 0) {
    ASSIGN_OR_RETURN(const std::vector<StepRecord> history, ReadSteps(folder.metrics()));
    if (!history.empty()) recorder->time_s_ = history.back().time_s;
  }
  ASSIGN_OR_RETURN(recorder->held_out_, ReadHeldOut(folder.held_out()));
  if (!recorder->held_out_.empty()) metrics->Set(Metric::kEvalPassRatio, recorder->held_out_.back().pass1, "1");
  recorder->cpu_seconds_ = ProcessCpuSeconds();
  return recorder;
}

absl::Status RunRecorder::Record(const StepContext& context, const StepStats& stats,
                                 const std::vector<TrajectoryGroup>& groups) {
  StepRecord record = MakeRecord(context, stats, MeansOf(groups));
  FillRhythmSummary(groups, context.before, rhythm_, &record);
  JoinHeldOut(held_out_, &record);
  time_s_ += context.step_time_s;
  record.time_s = time_s_;
  const double cpu_seconds = ProcessCpuSeconds();
  record.cpu_share_learner = (cpu_seconds - cpu_seconds_) / context.step_time_s;
  cpu_seconds_ = cpu_seconds;
  RETURN_IF_ERROR(steps_->WriteStep(record));
  RETURN_IF_ERROR(tensorboard_->WriteStep(record));
  RETURN_IF_ERROR(WriteSamples(context.step, groups));
  Expose(context, stats, record);
  ExposeGroups(groups, context.before);
  return absl::OkStatus();
}

// Audited groups come first: only they have attention to look at.
absl::Status RunRecorder::WriteSamples(int64_t step, const std::vector<TrajectoryGroup>& groups) {
  std::vector<const TrajectoryGroup*> order;
  order.reserve(groups.size());
  for (const TrajectoryGroup& group : groups) order.push_back(&group);
  std::stable_partition(order.begin(), order.end(), [](const TrajectoryGroup* group) {
    return !group->completions.empty() && group->completions.front().rhythm.has_value();
  });
  for (size_t g = 0; g < std::min(kSampledGroups, order.size()); ++g) {
    for (size_t c = 0; c < std::min(kSamplesPerGroup, order[g]->completions.size()); ++c) {
      RETURN_IF_ERROR(samples_->WriteSample(MakeSample(step, *order[g], c)));
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

void ExposePhases(const PhaseSeconds& seconds, MetricSet& metrics) {
  metrics.Add(Metric::kLearnerPhaseSeconds, seconds.forward, "forward");
  metrics.Add(Metric::kLearnerPhaseSeconds, seconds.backward, "backward");
  metrics.Add(Metric::kLearnerPhaseSeconds, seconds.allreduce, "allreduce");
  metrics.Add(Metric::kLearnerPhaseSeconds, seconds.optimizer, "optimizer");
}

void RunRecorder::Expose(const StepContext& context, const StepStats& stats, const StepRecord& record) {
  using enum Metric;
  MetricSet& m = *metrics_;
  m.Set(kLearnerStep, static_cast<double>(context.step));
  m.Add(kLearnerSteps, static_cast<double>(stats.updates - stats.skipped_updates), "applied");
  m.Add(kLearnerSteps, static_cast<double>(stats.skipped_updates), "skipped");
  m.Observe(kLearnerStepDuration, context.step_time_s);
  ExposePhases(stats.seconds, m);
  m.Add(kLearnerPhaseSeconds, context.publish_s, "publish");
  m.Set(kLearnerLastStepTimestamp, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  const double tokens = static_cast<double>(stats.prompt_tokens + stats.completion_tokens);
  m.Add(kLearnerTokens, static_cast<double>(stats.prompt_tokens), "prompt");
  m.Add(kLearnerTokens, static_cast<double>(stats.completion_tokens), "completion");
  m.Add(kLearnerModelFlops, 6 * static_cast<double>(context.parameters) * tokens);
  m.Set(kWeightVersion, static_cast<double>(context.version.step));
  m.Observe(kWeightPublishDuration, context.publish_s);
  m.Add(kWeightTransferBytes, static_cast<double>(context.weight_bytes_sent - weight_bytes_sent_));
  weight_bytes_sent_ = context.weight_bytes_sent;
  m.Add(kNonfiniteValues, static_cast<double>(stats.skipped_updates), "gradient");
  m.Add(kNonfiniteValues, std::isfinite(stats.loss) ? 0 : 1, "loss");
  m.Add(kRhythmAudited, record.audited_completions);
  ExposePolicy(stats, m);
  for (const RecordGauge& gauge : kRecordGauges) {
    const double value = record.*gauge.member;
    if (std::isfinite(value)) m.Set(gauge.metric, value, gauge.label);  // a batch without audit leaves the last one
  }
}

void RunRecorder::ExposeGroups(const std::vector<TrajectoryGroup>& groups, PolicyVersion trained) {
  using enum Metric;
  MetricSet& m = *metrics_;
  for (const TrajectoryGroup& group : groups) {
    size_t passed = 0;
    for (const Completion& completion : group.completions) {
      const bool pass = completion.reward.correct > 0;
      passed += pass ? 1 : 0;
      m.Add(kVerdicts, 1, pass ? "pass" : completion.reward.reason == kUndecodableReason ? "error" : "fail");
      m.Observe(kCompletionTokens, static_cast<double>(completion.token_ids.size()));
      if (completion.finish_reason == FinishReason::kLength) m.Add(kCompletionsTruncated, 1);
      const uint64_t sampled = completion.versions.front().version.step;
      m.Observe(kTrajectoryStaleness, static_cast<double>(trained.step - std::min(trained.step, sampled)));
    }
    m.Add(kGroups, 1, passed == 0 ? "all_fail" : passed == group.completions.size() ? "all_pass" : "informative");
  }
}

}  // namespace tactus
