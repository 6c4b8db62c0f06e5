#include "common/metrics/step_record.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

using R = StepRecord;

constexpr StepField kFields[] = {
    {"reward_mean", &R::reward_mean, "mean reward of the batch"},
    {"reward_std", &R::reward_std, "standard deviation of the rewards"},
    {"correct_rate", &R::correct_rate, "share of right answers"},
    {"format_rate", &R::format_rate, "share of well-formed answers"},
    {"completion_tokens_mean", &R::completion_tokens_mean, "mean length, tokens"},
    {"tokens_generated_per_s", &R::tokens_generated_per_s, "tokens sampled per second"},
    {"tokens_trained_per_s", &R::tokens_trained_per_s, "tokens trained per second"},
    {"loss", &R::loss, "loss"},
    {"grad_norm", &R::grad_norm, "gradient norm before clipping"},
    {"lr", &R::lr, "learning rate"},
    {"kl_k3", &R::kl_k3, "KL to the starting policy, k3, nats per token"},
    {"clip_fraction", &R::clip_fraction, "share of clipped tokens"},
    {"entropy_mean", &R::entropy_mean, "entropy, nats per token"},
    {"mismatch_mean", &R::mismatch_mean, "mean |\u0394 log p| between actor and learner, nats"},
    {"mismatch_max", &R::mismatch_max, "largest |\u0394 log p| between actor and learner, nats"},
    {"mismatch_kl", &R::mismatch_kl, "KL between actor and learner, nats"},
    {"tis_mean", &R::tis_mean, "mean truncated importance weight"},
    {"staleness_mean", &R::staleness_mean, "mean age of the samples, versions"},
    {"staleness_max", &R::staleness_max, "largest age of the samples, versions"},
    {"zero_signal_share", &R::zero_signal_share, "share of groups with equal rewards"},
    {"skipped_steps", &R::skipped_steps, "optimizer steps skipped so far"},
    {"step_time_s", &R::step_time_s, "time of the step, seconds"},
    {"phase_wait_s", &R::phase_wait_s, "waiting for groups, seconds"},
    {"phase_forward_s", &R::phase_forward_s, "forward pass, seconds"},
    {"phase_backward_s", &R::phase_backward_s, "backward pass, seconds"},
    {"phase_allreduce_s", &R::phase_allreduce_s, "reducing gradients, seconds"},
    {"phase_optimizer_s", &R::phase_optimizer_s, "optimizer, seconds"},
    {"phase_publish_s", &R::phase_publish_s, "publishing weights, seconds"},
    {"phase_checkpoint_s", &R::phase_checkpoint_s, "checkpoint, seconds"},
    {"actors_connected", &R::actors_connected, "actors connected"},
    {"groups_dropped_stale", &R::groups_dropped_stale, "groups dropped as stale so far"},
    {"eval_pass1", &R::eval_pass1, "pass@1 on held-out prompts"},
    {"cpu_share_learner", &R::cpu_share_learner, "CPU seconds of the learner per second"},
    {"credit_mean", &R::credit_mean, "mean credit weight \u03b3"},
    {"credit_amplified_share", &R::credit_amplified_share, "share of tokens with \u03b3 > 1"},
    {"audited_completions", &R::audited_completions, "completions with raw attention metrics"},
    {"gamma_version_lag_mean", &R::gamma_version_lag_mean, "mean age of the weights behind \u03b3, versions"},
    {"gamma_version_lag_max", &R::gamma_version_lag_max, "largest age of the weights behind \u03b3, versions"},
    {"credit_local_chunk_share", &R::credit_local_chunk_share, "share of tokens LOCAL_CHUNK would amplify"},
    {"credit_global_anchor_share", &R::credit_global_anchor_share, "share of tokens GLOBAL_ANCHOR would amplify"},
    {"credit_coupled_share", &R::credit_coupled_share, "share of tokens COUPLED would amplify"},
    {"credit_entropy_share", &R::credit_entropy_share, "share of tokens ENTROPY would amplify"},
    {"overlap_local_global", &R::overlap_local_global, "Jaccard overlap of LOCAL_CHUNK and GLOBAL_ANCHOR"},
    {"overlap_coupled_entropy", &R::overlap_coupled_entropy, "Jaccard overlap of COUPLED and ENTROPY"},
    {"overlap_global_entropy", &R::overlap_global_entropy, "Jaccard overlap of GLOBAL_ANCHOR and ENTROPY"},
    {"overlap_local_entropy", &R::overlap_local_entropy, "Jaccard overlap of LOCAL_CHUNK and ENTROPY"},
    {"waad_peak_entropy_corr", &R::waad_peak_entropy_corr, "correlation of WAAD peaks with entropy"},
    {"waad_mean", &R::waad_mean, "mean WAAD, tokens"},
    {"waad_p10", &R::waad_p10, "0.1 quantile of WAAD, tokens"},
    {"waad_p50", &R::waad_p50, "median WAAD, tokens"},
    {"waad_p90", &R::waad_p90, "0.9 quantile of WAAD, tokens"},
    {"fai_mean", &R::fai_mean, "mean FAI of tokens that have a window"},
    {"fai_p10", &R::fai_p10, "0.1 quantile of FAI"},
    {"fai_p50", &R::fai_p50, "median FAI"},
    {"fai_p90", &R::fai_p90, "0.9 quantile of FAI"},
};

nlohmann::ordered_json NumberOrNull(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

absl::Status ReadNumber(const nlohmann::ordered_json& json, const char* key, double* out) {
  const auto it = json.find(key);
  if (it == json.end()) return absl::OkStatus();
  if (!it->is_number() && !it->is_null()) {
    return absl::InvalidArgumentError(absl::StrCat("metrics line: \"", key, "\" is not a number."));
  }
  *out = it->is_null() ? std::nan("") : it->get<double>();
  return absl::OkStatus();
}

}  // namespace

std::span<const StepField> StepFields() { return kFields; }

std::string StepRecordToJson(const StepRecord& record) {
  nlohmann::ordered_json json;
  json["step"] = record.step;
  json["version"] = record.version;
  json["time_s"] = NumberOrNull(record.time_s);
  for (const StepField& field : kFields) {
    const double value = record.*field.member;
    if (field.member == &StepRecord::eval_pass1 && std::isnan(value)) continue;
    json[field.key] = NumberOrNull(value);
  }
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::StatusOr<StepRecord> StepRecordFromJson(absl::string_view line) {
  ASSIGN_OR_RETURN(const nlohmann::ordered_json json,
                   ParseStrictJson(line, "metrics line", {.max_bytes = 1 << 16, .max_depth = 4, .max_values = 1024}));
  if (!json.is_object()) return absl::InvalidArgumentError("metrics line: expected a JSON object.");
  const auto step = json.find("step");
  if (step == json.end() || !step->is_number_integer()) {
    return absl::InvalidArgumentError("metrics line: expected a whole number \"step\".");
  }
  StepRecord record;
  record.step = step->get<int64_t>();
  const auto version = json.find("version");
  if (version != json.end()) {
    if (!version->is_string()) return absl::InvalidArgumentError("metrics line: \"version\" is not a string.");
    record.version = version->get<std::string>();
  }
  RETURN_IF_ERROR(ReadNumber(json, "time_s", &record.time_s));
  for (const StepField& field : kFields) RETURN_IF_ERROR(ReadNumber(json, field.key, &(record.*field.member)));
  return record;
}

}  // namespace tactus
