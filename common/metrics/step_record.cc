#include "common/metrics/step_record.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/json_field.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

using R = StepRecord;
using enum Unit;

// Why a number may be absent; what stands after "—" or "absent if".
constexpr char kNoReference[] = "no reference policy is kept, as algorithm.kl_beta is 0";
constexpr char kNoKlInLoss[] = "algorithm.kl_beta is 0, or algorithm.kl_place not IN_LOSS";
constexpr char kNoBonus[] = "algorithm.entropy_coefficient is 0";
constexpr char kNoShaping[] =
    "algorithm.overlong_buffer_tokens is 0 and algorithm.kl_place not IN_REWARD with a weight";
constexpr char kNoTokens[] = "no token of the step was computed, as no group had a signal";
constexpr char kNotCompared[] =
    "no token was compared: none was computed, or rollout.top_p or top_k changes what is sampled";
constexpr char kNoneCurrent[] = "no token that was compared is of the current version";
constexpr char kNoWeights[] = "no importance weight was computed: algorithm.tis_cap is 0, or no group had a signal";
constexpr char kAllSkipped[] = "every update of the step was skipped";
constexpr char kNoEvaluation[] = "no held-out evaluation belongs to the step";
constexpr char kOneSample[] = "no held-out evaluation belongs to the step, or eval.samples_per_prompt is 1";
constexpr char kNoDifficulty[] = "rollout.difficulty_floor is 1";
constexpr char kNoConversation[] = "no answer of the step is a conversation";
constexpr char kNoCredit[] = "the credit strategy reads nothing of the model";
constexpr char kNoAudit[] = "no answer of the batch carried its raw metrics (credit.audit_share)";

// Key, member, TensorBoard folder, unit, chart, label there, help, series, why it may be absent. At most two to a
// chart.
constexpr StepField Row(const char* key, double R::*member, const char* folder, Unit unit, const char* chart,
                        const char* label, const char* help, StepSeries series = {}, const char* absent = nullptr) {
  return {key, member, folder, unit, chart, label, help, series, absent};
}
constexpr StepSeries kNoSeries;
constexpr StepSeries Gauge(const char* metric, const char* label = nullptr, const char* value = nullptr) {
  return {metric, label, value};
}
constexpr StepSeries EnvGauge(const char* metric, const char* label = nullptr, const char* value = nullptr) {
  return {metric, label, value, true};
}
constexpr StepSeries PhaseGauge(const char* phase) { return Gauge("tactus_step_phase_seconds", "phase", phase); }

constexpr StepField kFields[] = {
    Row("reward_mean", &R::reward_mean, "train", kNumber, "Reward", "reward", "mean reward of the last batch",
        EnvGauge("tactus_reward_mean", "component", "total")),
    Row("reward_std", &R::reward_std, "train", kNumber, nullptr, "deviation",
        "standard deviation of the batch's rewards", EnvGauge("tactus_reward_stddev")),
    Row("correct_rate", &R::correct_rate, "train", kRatio, "Right answers", "right", "share of right answers",
        EnvGauge("tactus_reward_mean", "component", "correct")),
    Row("format_rate", &R::format_rate, "train", kRatio, "Right answers", "well-formed",
        "share of well-formed answers"),
    Row("reward_format", &R::reward_format, "train", kNumber, nullptr, "format",
        "mean reward beside that for being right", EnvGauge("tactus_reward_mean", "component", "format")),
    Row("reward_shaping_mean", &R::reward_shaping_mean, "train", kNumber, nullptr, "shaping",
        "mean of what the learner adds to the rewards, for long answers and distance from the starting policy",
        kNoSeries, kNoShaping),
    Row("completion_tokens_mean", &R::completion_tokens_mean, "train", kTokens, "Length", "tokens",
        "mean length, tokens", Gauge("tactus_completion_length_tokens")),
    Row("turns_mean", &R::turns_mean, "train", kNumber, "Turns", "turns", "mean turns of the model in a conversation",
        kNoSeries, kNoConversation),
    Row("advantage_mean", &R::advantage_mean, "train", kNumber, nullptr, "mean", "mean advantage, before credit",
        Gauge("tactus_advantage", "stat", "mean")),
    Row("advantage_min", &R::advantage_min, "train", kNumber, "Advantage", "min", "smallest advantage, before credit",
        Gauge("tactus_advantage", "stat", "min")),
    Row("advantage_max", &R::advantage_max, "train", kNumber, "Advantage", "max", "largest advantage, before credit",
        Gauge("tactus_advantage", "stat", "max")),
    Row("tokens_generated_per_s", &R::tokens_generated_per_s, "train", kPerSecond, "Throughput", "generated",
        "tokens sampled per second", Gauge("tactus_step_tokens_per_second", "kind", "generated")),
    Row("tokens_trained_per_s", &R::tokens_trained_per_s, "train", kPerSecond, "Throughput", "trained",
        "tokens trained per second", Gauge("tactus_step_tokens_per_second", "kind", "trained")),
    Row("loss", &R::loss, "train", kNumber, "Loss", "total", "loss", Gauge("tactus_loss", "term", "total")),
    Row("loss_policy", &R::loss_policy, "train", kNumber, nullptr, "policy", "the policy's part of the loss",
        Gauge("tactus_loss", "term", "policy")),
    Row("loss_kl", &R::loss_kl, "train", kNumber, "Loss", "KL term", "the KL term's part of the loss",
        Gauge("tactus_loss", "term", "kl"), kNoKlInLoss),
    Row("loss_entropy", &R::loss_entropy, "train", kNumber, nullptr, "entropy bonus",
        "the entropy bonus's part of the loss", Gauge("tactus_loss", "term", "entropy"), kNoBonus),
    Row("grad_norm", &R::grad_norm, "train", kNumber, "Gradient norm", "norm", "gradient norm before clipping",
        Gauge("tactus_gradient_norm"), kAllSkipped),
    Row("lr", &R::lr, "train", kNumber, "Learning rate", "rate", "learning rate of the last update",
        Gauge("tactus_learning_rate")),
    Row("kl_k3", &R::kl_k3, "train", kNats, "KL", "to the starting policy",
        "KL to the starting policy, k3, nats per token", Gauge("tactus_policy_kl_nats", "against", "reference"),
        kNoReference),
    Row("kl_proximal", &R::kl_proximal, "train", kNats, nullptr, "to the proximal policy",
        "KL of the policy to what it was before the step's updates, k3, nats per token; 0 with one update a step",
        Gauge("tactus_policy_kl_nats", "against", "proximal"), kNoTokens),
    Row("clip_fraction", &R::clip_fraction, "train", kRatio, nullptr, "clipped", "share of clipped tokens", kNoSeries,
        kNoTokens),
    Row("clip_low_fraction", &R::clip_low_fraction, "train", kRatio, "Clipped tokens", "low",
        "share of tokens whose probability ratio was clipped, below 1 - clip_low",
        Gauge("tactus_clip_ratio", "side", "low"), kNoTokens),
    Row("clip_high_fraction", &R::clip_high_fraction, "train", kRatio, "Clipped tokens", "high",
        "share of tokens whose probability ratio was clipped, above 1 + clip_high",
        Gauge("tactus_clip_ratio", "side", "high"), kNoTokens),
    Row("ratio_max", &R::ratio_max, "train", kNumber, nullptr, "largest ratio",
        "largest probability ratio of the policy to the proximal one", kNoSeries, kNoTokens),
    Row("entropy_mean", &R::entropy_mean, "train", kNats, "Entropy", "entropy",
        "entropy of the sampling distribution, nats per token; a fall to near 0 ends exploration",
        Gauge("tactus_policy_entropy_nats")),
    Row("mismatch_mean", &R::mismatch_mean, "health", kNats, "Agreement", "mean",
        "mean difference of a token's log-prob between actor and learner, nats",
        Gauge("tactus_sampler_mismatch_logprob_nats", "stat", "mean"), kNotCompared),
    Row("mismatch_max", &R::mismatch_max, "health", kNats, "Agreement", "max",
        "largest difference of a token's log-prob between actor and learner, nats",
        Gauge("tactus_sampler_mismatch_logprob_nats", "stat", "max"), kNotCompared),
    Row("mismatch_kl", &R::mismatch_kl, "health", kNats, "Mismatch KL", "KL",
        "KL between the actors' recorded log-probs and the learner's recomputed ones, k3, nats per token; exactly 0 "
        "with one build",
        Gauge("tactus_sampler_mismatch_kl_nats"), kNotCompared),
    Row("mismatch_tokens", &R::mismatch_tokens, "health", kTokens, nullptr, "compared",
        "tokens whose log-prob of the actor and the learner was compared"),
    Row("mismatch_on_policy_mean", &R::mismatch_on_policy_mean, "health", kNats, nullptr, "mean",
        "mismatch_mean of the tokens that the current version sampled", kNoSeries, kNoneCurrent),
    Row("mismatch_on_policy_max", &R::mismatch_on_policy_max, "health", kNats, nullptr, "max",
        "mismatch_max of the tokens that the current version sampled", kNoSeries, kNoneCurrent),
    Row("mismatch_on_policy_kl", &R::mismatch_on_policy_kl, "health", kNats, nullptr, "KL",
        "mismatch_kl of the tokens that the current version sampled", kNoSeries, kNoneCurrent),
    Row("mismatch_on_policy_tokens", &R::mismatch_on_policy_tokens, "health", kTokens, nullptr, "compared",
        "mismatch_tokens of the tokens that the current version sampled"),
    Row("tis_mean", &R::tis_mean, "health", kNumber, "Importance weight", "mean",
        "mean truncated importance weight; 1 = the policy is the one that sampled",
        Gauge("tactus_importance_weight", "stat", "mean"), kNoWeights),
    Row("tis_max", &R::tis_max, "health", kNumber, "Importance weight", "max", "largest truncated importance weight",
        Gauge("tactus_importance_weight", "stat", "max"), kNoWeights),
    Row("tis_capped_share", &R::tis_capped_share, "health", kRatio, "Importance weights at the cap", "capped",
        "share of tokens whose importance weight was at algorithm.tis_cap",
        Gauge("tactus_importance_weight_capped_ratio"), kNoWeights),
    Row("staleness_mean", &R::staleness_mean, "health", kVersions, "Staleness", "mean",
        "mean age of the samples, versions", Gauge("tactus_step_staleness_versions", "stat", "mean")),
    Row("staleness_max", &R::staleness_max, "health", kVersions, "Staleness", "max",
        "largest age of the samples, versions", Gauge("tactus_step_staleness_versions", "stat", "max")),
    Row("zero_signal_share", &R::zero_signal_share, "train", kRatio, nullptr, "equal groups",
        "share of groups with equal rewards", Gauge("tactus_groups_zero_signal_ratio")),
    Row("updates", &R::updates, "train", kNumber, nullptr, "updates",
        "optimizer steps of the step, skipped ones included"),
    Row("skipped_updates", &R::skipped_updates, "train", kNumber, nullptr, "skipped",
        "optimizer steps of the step that were skipped, as the gradient was not finite or longer than "
        "optimizer.skip_grad_norm"),
    Row("skipped_steps", &R::skipped_steps, "train", kNumber, nullptr, "skipped", "optimizer steps skipped so far"),
    Row("completion_tokens", &R::completion_tokens, "train", kTokens, nullptr, "completion",
        "completion tokens computed and trained on"),
    Row("prompt_tokens", &R::prompt_tokens, "train", kTokens, nullptr, "prompt",
        "prompt tokens computed before them, a group's once, and the context between turns"),
    Row("skipped_tokens", &R::skipped_tokens, "train", kTokens, nullptr, "left out",
        "completion tokens left out, having no signal"),
    Row("step_time_s", &R::step_time_s, "time", kSeconds, "Step time", "step",
        "time since the record of the step before, seconds", Gauge("tactus_step_seconds")),
    Row("phase_wait_s", &R::phase_wait_s, "time", kSeconds, "Step time", "waiting", "waiting for groups, seconds",
        PhaseGauge("wait_trajectories")),
    Row("phase_forward_s", &R::phase_forward_s, "time", kSeconds, nullptr, "forward", "forward pass, seconds",
        PhaseGauge("forward")),
    Row("phase_backward_s", &R::phase_backward_s, "time", kSeconds, nullptr, "backward", "backward pass, seconds",
        PhaseGauge("backward")),
    Row("phase_allreduce_s", &R::phase_allreduce_s, "time", kSeconds, nullptr, "allreduce",
        "reducing gradients, seconds", PhaseGauge("allreduce")),
    Row("phase_optimizer_s", &R::phase_optimizer_s, "time", kSeconds, nullptr, "optimizer",
        "optimizer, with the rounding of the new weights, seconds", PhaseGauge("optimizer")),
    Row("phase_publish_s", &R::phase_publish_s, "time", kSeconds, nullptr, "publish",
        "training lost to publishing weights, seconds", PhaseGauge("publish")),
    Row("phase_checkpoint_s", &R::phase_checkpoint_s, "time", kSeconds, nullptr, "checkpoint",
        "checkpoint after the step before, seconds", PhaseGauge("checkpoint")),
    Row("streamed_s", &R::streamed_s, "time", kSeconds, nullptr, "streamed",
        "forward and backward passes before the step's last group was in, seconds"),
    Row("actors_connected", &R::actors_connected, "train", kNumber, nullptr, "actors", "actors connected"),
    Row("groups_dropped_stale", &R::groups_dropped_stale, "train", kNumber, nullptr, "dropped",
        "groups dropped as stale so far"),
    Row("groups_replaced", &R::groups_replaced, "train", kNumber, nullptr, "replaced",
        "groups of equal rewards left out for further prompts so far (rollout.max_replaced_groups)"),
    Row("prompts_never_solved_share", &R::prompts_never_solved_share, "train", kRatio, "Prompts", "never solved",
        "share of the prompts asked so far whose success rate is 0 (rollout.difficulty_floor)",
        Gauge("tactus_prompts_solved_ratio", "how_often", "never"), kNoDifficulty),
    Row("prompts_always_solved_share", &R::prompts_always_solved_share, "train", kRatio, "Prompts", "always solved",
        "share of the prompts asked so far whose success rate is 1 (rollout.difficulty_floor)",
        Gauge("tactus_prompts_solved_ratio", "how_often", "always"), kNoDifficulty),
    Row("prompts_passed_over", &R::prompts_passed_over, "train", kNumber, nullptr, "passed over",
        "turns so far in which a prompt was not asked, for its success rate (rollout.difficulty_floor)", kNoSeries,
        kNoDifficulty),
    Row("eval_pass1", &R::eval_pass1, "eval", kRatio, "Held-out pass@1", "pass@1",
        "pass@1 on held-out prompts, last evaluation", EnvGauge("tactus_eval_pass_ratio", "k", "1"), kNoEvaluation),
    Row("eval_pass_k", &R::eval_pass_k, "eval", kRatio, "Held-out pass@1", "pass@k",
        "pass@k on held-out prompts, with k = eval.samples_per_prompt answers to each, last evaluation",
        EnvGauge("tactus_eval_pass_ratio", "k", "samples"), kOneSample),
    Row("cpu_share_learner", &R::cpu_share_learner, "train", kNumber, nullptr, "CPU",
        "CPU seconds of the learner per second"),
    Row("credit_mean", &R::credit_mean, "train", kNumber, "Credit", "mean \u03b3",
        "mean credit weight \u03b3 of the tokens", Gauge("tactus_credit_mean")),
    Row("credit_amplified_share", &R::credit_amplified_share, "train", kRatio, "Credit", "amplified",
        "share of tokens with \u03b3 > 1, by the run's credit",
        Gauge("tactus_credit_amplified_ratio", "strategy", "applied")),
    Row("audited_completions", &R::audited_completions, "train", kNumber, nullptr, "audited",
        "completions with raw attention metrics"),
    Row("gamma_version_lag_mean", &R::gamma_version_lag_mean, "train", kVersions, "Age of \u03b3", "mean",
        "mean age of the weights behind \u03b3, versions", Gauge("tactus_credit_lag_versions", "stat", "mean"),
        kNoCredit),
    Row("gamma_version_lag_max", &R::gamma_version_lag_max, "train", kVersions, "Age of \u03b3", "max",
        "largest age of the weights behind \u03b3, versions", Gauge("tactus_credit_lag_versions", "stat", "max"),
        kNoCredit),
    Row("credit_local_chunk_share", &R::credit_local_chunk_share, "train", kRatio, nullptr, "local chunk",
        "share of tokens LOCAL_CHUNK would amplify", Gauge("tactus_credit_amplified_ratio", "strategy", "local_chunk"),
        kNoAudit),
    Row("credit_global_anchor_share", &R::credit_global_anchor_share, "train", kRatio, "Chosen tokens", "global anchor",
        "share of tokens GLOBAL_ANCHOR would amplify",
        Gauge("tactus_credit_amplified_ratio", "strategy", "global_anchor"), kNoAudit),
    Row("credit_coupled_share", &R::credit_coupled_share, "train", kRatio, "Chosen tokens", "coupled",
        "share of tokens COUPLED would amplify", Gauge("tactus_credit_amplified_ratio", "strategy", "coupled"),
        kNoAudit),
    Row("credit_entropy_share", &R::credit_entropy_share, "train", kRatio, nullptr, "entropy",
        "share of tokens ENTROPY would amplify", Gauge("tactus_credit_amplified_ratio", "strategy", "entropy"),
        kNoAudit),
    Row("overlap_local_global", &R::overlap_local_global, "train", kRatio, "Overlap", "local, global",
        "Jaccard overlap of LOCAL_CHUNK and GLOBAL_ANCHOR; two random choices of a share q have q / (2 \u2212 q)",
        Gauge("tactus_credit_overlap_ratio", "pair", "local_chunk_global_anchor"), kNoAudit),
    Row("overlap_coupled_entropy", &R::overlap_coupled_entropy, "train", kRatio, "Overlap", "coupled, entropy",
        "Jaccard overlap of COUPLED and ENTROPY", Gauge("tactus_credit_overlap_ratio", "pair", "coupled_entropy"),
        kNoAudit),
    Row("overlap_global_entropy", &R::overlap_global_entropy, "train", kRatio, nullptr, "global, entropy",
        "Jaccard overlap of GLOBAL_ANCHOR and ENTROPY",
        Gauge("tactus_credit_overlap_ratio", "pair", "global_anchor_entropy"), kNoAudit),
    Row("overlap_local_entropy", &R::overlap_local_entropy, "train", kRatio, nullptr, "local, entropy",
        "Jaccard overlap of LOCAL_CHUNK and ENTROPY",
        Gauge("tactus_credit_overlap_ratio", "pair", "local_chunk_entropy"), kNoAudit),
    Row("waad_peak_entropy_corr", &R::waad_peak_entropy_corr, "train", kNumber, "WAAD peaks and entropy", "correlation",
        "correlation of WAAD peaks with entropy", Gauge("tactus_rhythm_peak_entropy_correlation"), kNoAudit),
    Row("waad_mean", &R::waad_mean, "train", kTokens, nullptr, "mean", "mean WAAD, tokens",
        Gauge("tactus_rhythm_waad_tokens", "stat", "mean"), kNoAudit),
    Row("waad_p10", &R::waad_p10, "train", kTokens, nullptr, "0.1 quantile", "0.1 quantile of WAAD, tokens",
        Gauge("tactus_rhythm_waad_tokens", "stat", "p10"), kNoAudit),
    Row("waad_p50", &R::waad_p50, "train", kTokens, "WAAD", "median",
        "median WAAD (windowed average attention distance), tokens", Gauge("tactus_rhythm_waad_tokens", "stat", "p50"),
        kNoAudit),
    Row("waad_p90", &R::waad_p90, "train", kTokens, "WAAD", "0.9 quantile", "0.9 quantile of WAAD, tokens",
        Gauge("tactus_rhythm_waad_tokens", "stat", "p90"), kNoAudit),
    Row("fai_mean", &R::fai_mean, "train", kRatio, nullptr, "mean", "mean FAI of tokens that have a window",
        Gauge("tactus_rhythm_fai_ratio", "stat", "mean"), kNoAudit),
    Row("fai_p10", &R::fai_p10, "train", kRatio, nullptr, "0.1 quantile", "0.1 quantile of FAI",
        Gauge("tactus_rhythm_fai_ratio", "stat", "p10"), kNoAudit),
    Row("fai_p50", &R::fai_p50, "train", kRatio, "FAI", "median",
        "median FAI (future attention influence), share of attention", Gauge("tactus_rhythm_fai_ratio", "stat", "p50"),
        kNoAudit),
    Row("fai_p90", &R::fai_p90, "train", kRatio, "FAI", "0.9 quantile", "0.9 quantile of FAI",
        Gauge("tactus_rhythm_fai_ratio", "stat", "p90"), kNoAudit),
};

static_assert(sizeof(StepRecord) == sizeof(int64_t) + sizeof(std::string) + sizeof(std::vector<SourceStep>) +
                                        sizeof(double) * (1 + std::size(kFields)),
              "each number of StepRecord has one row in kFields");

constexpr size_t kTrendSteps = 10;

nlohmann::ordered_json NumberOrNull(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

absl::Status ReadNumber(const JsonField& line, const char* key, double* out) {
  ASSIGN_OR_RETURN(const JsonField field, line.Member(key));
  if (field.is_null()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*out, field.Number());
  return absl::OkStatus();
}

nlohmann::ordered_json SourcesToJson(const std::vector<SourceStep>& sources) {
  nlohmann::ordered_json json;
  for (const SourceStep& source : sources) {
    json[source.name] = {{"groups", source.groups},
                         {"reward_mean", NumberOrNull(source.reward_mean)},
                         {"correct_rate", NumberOrNull(source.correct_rate)}};
  }
  return json;
}

absl::Status ReadSources(const JsonField& line, std::vector<SourceStep>* out) {
  ASSIGN_OR_RETURN(const JsonField sources, line.Member("sources"));
  if (sources.is_null()) return absl::OkStatus();
  if (!sources.value().is_object()) return sources.Expected("an object");
  for (const auto& [name, unused] : sources.value().items()) {
    ASSIGN_OR_RETURN(const JsonField source, sources.Member(name.c_str()));
    SourceStep& step = out->emplace_back(SourceStep{.name = name, .reward_mean = kAbsent, .correct_rate = kAbsent});
    RETURN_IF_ERROR(ReadNumber(source, "groups", &step.groups));
    RETURN_IF_ERROR(ReadNumber(source, "reward_mean", &step.reward_mean));
    RETURN_IF_ERROR(ReadNumber(source, "correct_rate", &step.correct_rate));
  }
  return absl::OkStatus();
}

}  // namespace

std::span<const StepField> StepFields() { return kFields; }

const StepField* FindStepField(absl::string_view key) {
  const auto it = std::ranges::find(kFields, key, [](const StepField& field) { return absl::string_view(field.key); });
  return it == std::end(kFields) ? nullptr : it;
}

std::vector<StepChart> StepCharts() {
  std::vector<StepChart> charts;
  for (const StepField& field : kFields) {
    if (field.chart == nullptr) continue;
    const absl::string_view title = field.chart;
    auto it = std::ranges::find(charts, title, [](const StepChart& chart) { return absl::string_view(chart.title); });
    if (it == charts.end()) it = charts.insert(it, {field.chart, {}});
    it->fields.push_back(&field);
  }
  return charts;
}

std::string TensorBoardTag(const StepField& field) {
  return absl::StrCat(field.folder, "/", absl::StripPrefix(field.key, absl::StrCat(field.folder, "_")));
}

std::string StepRecordToJson(const StepRecord& record) {
  nlohmann::ordered_json json;
  json["step"] = record.step;
  json["version"] = record.version;
  json["time_s"] = NumberOrNull(record.time_s);
  for (const StepField& field : kFields) {
    const double value = record.*field.member;
    if (field.absent == nullptr || std::isfinite(value)) json[field.key] = NumberOrNull(value);
  }
  if (!record.sources.empty()) json["sources"] = SourcesToJson(record.sources);
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::StatusOr<StepRecord> StepRecordFromJson(absl::string_view text) {
  constexpr absl::string_view kSource = "metrics line";
  ASSIGN_OR_RETURN(const nlohmann::json json,
                   ParseJson(text, kSource, {.max_bytes = 1 << 16, .max_depth = 4, .max_values = 1024}));
  const JsonField line(json, kSource);
  StepRecord record;
  JSON_MEMBER(record.step, line, "step", Integer());
  ASSIGN_OR_RETURN(const JsonField version, line.Member("version"));
  if (!version.is_null()) {
    ASSIGN_OR_RETURN(record.version, version.String());
  }
  RETURN_IF_ERROR(ReadNumber(line, "time_s", &record.time_s));
  for (const StepField& field : kFields) RETURN_IF_ERROR(ReadNumber(line, field.key, &(record.*field.member)));
  RETURN_IF_ERROR(ReadSources(line, &record.sources));
  return record;
}

StepTrend TrendOf(std::span<const StepRecord> steps, double StepRecord::*member) {
  std::vector<double> values;
  for (const StepRecord& step : steps) {
    if (std::isfinite(step.*member)) values.push_back(step.*member);
  }
  const size_t count = std::min(kTrendSteps, values.size() / 2);
  if (count == 0) return {};
  double first = 0, last = 0;
  for (size_t i = 0; i < count; ++i) first += values[i], last += values[values.size() - 1 - i];
  return {first / static_cast<double>(count), last / static_cast<double>(count), static_cast<int>(count)};
}

}  // namespace tactus
