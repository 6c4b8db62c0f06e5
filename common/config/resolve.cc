#include "common/config/resolve.h"

#include "common/config/field_path.h"

namespace tactus::config {
namespace {

constexpr double kMillion = 1e6;
constexpr double kMaxTokens = 1 << 20;  // of one prompt or completion
constexpr double kMaxInt = 2147483647;

// {path, default, smallest, largest}, in the order of proto/config.proto.
constexpr FieldSpec kFields[] = {
    {"seed", "1", 0},
    {"model.path"},
    {"model.dtype", "FLOAT32"},
    {"model.prompt_template"},
    {"model.system_prompt"},
    {"task.name"},
    {"task.train_size", "20000", 1, 1e8},
    {"task.test_size", "512", 0, kMillion},
    {"task.min_numbers", "3", 2, 8},
    {"task.max_numbers", "4", 2, 8},
    {"task.max_number", "99", 1, kMillion},
    {"task.max_target", "100", 1, kMillion},
    {"task.train_path"},
    {"task.test_path"},
    {"task.format_reward", "0.05", 0, 1},
    {"task.data_seed", "7", 0},
    {"task.prompt_style", "chat"},
    {"rollout.prompts_per_step", "16", 1, 65536},
    {"rollout.completions_per_prompt", "8", 1, 4096},
    {"rollout.max_staleness_steps", "0", 0, 1000},
    {"rollout.max_prompt_tokens", "256", 1, kMaxTokens},
    {"rollout.max_completion_tokens", "256", 1, kMaxTokens},
    {"rollout.temperature", "1.0", 0.01, 100},
    {"rollout.top_p", "1.0", 1e-6, 1},
    {"rollout.top_k", "0", 0, kMillion},
    {"rollout.lease_timeout_s", "300", 1, 86400},
    {"rollout.stop_token_ids", nullptr, 0, kMaxInt},
    {"credit.strategy", "UNIFORM"},
    {"credit.q", "0.4"},
    {"credit.amplification", "1.5", 0, 100},
    {"credit.sign_rule"},
    {"credit.paper", "PAPER_V2"},
    {"credit.lookback_tokens", "3", 1, 4096},
    {"credit.alpha", "0.5", 0, 1},
    {"credit.waad_quantile", "0.5"},
    {"credit.delta_quantile", "0.6"},
    {"credit.window_tokens", "10", 1, 4096},
    {"credit.horizon_min_tokens", "10", 1, kMaxTokens},
    {"credit.horizon_max_tokens", nullptr, 0, kMaxTokens},
    {"credit.layers", nullptr, 0, kMaxInt},
    {"credit.head_share", "0.3"},
    {"credit.head_mode", "PER_RESPONSE"},
    {"credit.calibrate_every_versions", "20", 1, kMaxInt},
    {"credit.receiver_share", "0.1"},
    {"credit.audit_share", "0.125"},
    {"credit.measure", "false"},
    {"algorithm.estimator", "GRPO"},
    {"algorithm.loss", "CLIP"},
    {"algorithm.aggregation", "TOKEN_MEAN"},
    {"algorithm.fixed_length_tokens", nullptr, 1, kMaxTokens},
    {"algorithm.clip_low", "0.2", 0, 1},
    {"algorithm.clip_high", "0.2", 0, 100},
    {"algorithm.tis_cap", "2.0", 0, kMillion},
    {"algorithm.kl_beta", "0", 0, 1000},
    {"algorithm.updates_per_batch", "1", 1, 65536},
    {"optimizer.lr", "1e-6", 0, 10},
    {"optimizer.beta1", "0.9", 0, 0.999999},
    {"optimizer.beta2", "0.999", 0, 0.99999999},
    {"optimizer.eps", "1e-8", 1e-30, 1},
    {"optimizer.weight_decay", "0.0", 0, 10},
    {"optimizer.warmup_steps", "0", 0, kMaxInt},
    {"optimizer.schedule", "CONSTANT"},
    {"optimizer.min_lr_ratio", "0.1", 0, 1},
    {"optimizer.max_grad_norm", "1.0", 1e-12, 1e12},
    {"learner.steps", "100", 1, kMaxInt},
    {"learner.micro_batch_tokens", "16384", 1, 1e8},
    {"learner.activation_checkpointing", "false"},
    {"learner.logprob_chunk_tokens", "256", 1, kMillion},
    {"learner.threads", "0", 0, 4096},
    {"learner.collective_timeout_s", "300", 1, 86400},
    {"learner.device", "auto"},
    {"learner.gpu_memory_mib", "0", 0, 16 * kMillion},
    {"actor.max_sequences", "32", 1, 65536},
    {"actor.kv_cache_mib", "1024", 1, 16 * kMillion},
    {"actor.max_step_tokens", "2048", 1, kMillion},
    {"actor.threads", "1", 0, 4096},
    {"actor.max_leases", "8", 1, 65536},
    {"actor.device", "auto"},
    {"actor.gpu_memory_mib", "0", 0, 16 * kMillion},
    {"checkpoint.every_steps", "20", 0, kMaxInt},
    {"checkpoint.keep", "3", 1, kMillion},
    {"eval.max_prompts", "0", 0, kMillion},
    {"eval.samples_per_prompt", "1", 1, 4096},
    {"sft.data_path"},
    {"sft.steps", "1000", 1, kMaxInt},
    {"sft.sequences_per_step", "128", 1, kMillion},
    {"service.listen", "127.0.0.1:0"},
    {"service.tls_cert_path"},
    {"service.tls_key_path"},
    {"service.tls_ca_path"},
    {"service.plaintext", "false"},
    {"service.metrics_listen", "127.0.0.1:0"},
    {"service.run_id", "tactus"},
};

}  // namespace

std::span<const FieldSpec> FieldSpecs() { return kFields; }

void Resolve(RunConfig* config) {
  for (const FieldSpec& spec : kFields) {
    if (spec.fallback != nullptr && !HasField(*config, spec.path)) {
      // The table's texts are fit for their fields: resolve_test sets every one of them.
      SetField(config, spec.path, spec.fallback).IgnoreError();
    }
  }
  AlgorithmOptions& algorithm = *config->mutable_algorithm();
  if (!algorithm.has_fixed_length_tokens()) {
    algorithm.set_fixed_length_tokens(config->rollout().max_completion_tokens());
  }
  CreditOptions& credit = *config->mutable_credit();
  const bool first_version = credit.paper() == CreditOptions::PAPER_V1;
  if (!credit.has_sign_rule()) credit.set_sign_rule(first_version ? CreditOptions::SIGN_V1 : CreditOptions::SIGN_V2);
  if (!credit.has_horizon_max_tokens()) credit.set_horizon_max_tokens(first_version ? 50 : 100);
}

}  // namespace tactus::config
