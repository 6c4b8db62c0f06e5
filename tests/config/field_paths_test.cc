// Freezes the configuration's field paths: a rename or removal breaks users' files, so it must be meant.
#include <set>

#include "common/config/field_path.h"
#include "common/config/resolve.h"
#include "common/config/run_config.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

namespace tactus::config {
namespace {

constexpr const char* kFrozen[] = {
    "seed",
    "model.path",
    "model.dtype",
    "model.prompt_template",
    "model.system_prompt",
    "task.name",
    "task.train_size",
    "task.test_size",
    "task.min_numbers",
    "task.max_numbers",
    "task.max_number",
    "task.max_target",
    "task.train_path",
    "task.test_path",
    "task.format_reward",
    "task.data_seed",
    "task.prompt_style",
    "rollout.prompts_per_step",
    "rollout.completions_per_prompt",
    "rollout.max_staleness_steps",
    "rollout.max_prompt_tokens",
    "rollout.max_completion_tokens",
    "rollout.temperature",
    "rollout.top_p",
    "rollout.top_k",
    "rollout.lease_timeout_s",
    "rollout.stop_token_ids",
    "credit.strategy",
    "credit.q",
    "credit.amplification",
    "credit.sign_rule",
    "credit.paper",
    "credit.lookback_tokens",
    "credit.alpha",
    "credit.waad_quantile",
    "credit.delta_quantile",
    "credit.window_tokens",
    "credit.horizon_min_tokens",
    "credit.horizon_max_tokens",
    "credit.layers",
    "credit.head_share",
    "credit.head_mode",
    "credit.calibrate_every_versions",
    "credit.receiver_share",
    "credit.audit_share",
    "credit.measure",
    "algorithm.estimator",
    "algorithm.loss",
    "algorithm.aggregation",
    "algorithm.fixed_length_tokens",
    "algorithm.clip_low",
    "algorithm.clip_high",
    "algorithm.tis_cap",
    "algorithm.kl_beta",
    "algorithm.updates_per_batch",
    "optimizer.lr",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.eps",
    "optimizer.weight_decay",
    "optimizer.warmup_steps",
    "optimizer.schedule",
    "optimizer.min_lr_ratio",
    "optimizer.max_grad_norm",
    "learner.steps",
    "learner.micro_batch_tokens",
    "learner.activation_checkpointing",
    "learner.logprob_chunk_tokens",
    "learner.threads",
    "learner.collective_timeout_s",
    "learner.device",
    "learner.gpu_memory_mib",
    "actor.max_sequences",
    "actor.kv_cache_mib",
    "actor.max_step_tokens",
    "actor.threads",
    "actor.max_leases",
    "actor.device",
    "actor.gpu_memory_mib",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "eval.max_prompts",
    "eval.samples_per_prompt",
    "sft.data_path",
    "sft.steps",
    "sft.sequences_per_step",
    "service.listen",
    "service.tls_cert_path",
    "service.tls_key_path",
    "service.tls_ca_path",
    "service.plaintext",
    "service.metrics_listen",
    "service.run_id",
};

TEST(FieldPathsTest, PathsAreFrozen) {
  EXPECT_EQ(FieldPaths(), std::vector<std::string>(std::begin(kFrozen), std::end(kFrozen)))
      << "A field was added, renamed or removed: that is an interface change. Added ones go into this list.";
}

TEST(FieldPathsTest, TheTableOfDefaultsCoversEveryFieldInOrder) {
  std::vector<std::string> table;
  for (const FieldSpec& spec : FieldSpecs()) table.push_back(spec.path);
  EXPECT_EQ(table, FieldPaths());
}

TEST(FieldPathsTest, EveryDefaultFitsItsFieldAndEveryNumberHasARange) {
  for (const FieldSpec& spec : FieldSpecs()) {
    RunConfig config;
    if (spec.fallback != nullptr) {
      EXPECT_TRUE(SetField(&config, spec.path, spec.fallback).ok()) << spec.path;
    }
  }
  std::set<std::string> ranged;
  for (const FieldSpec& spec : FieldSpecs()) {
    if (spec.min > -1e300) ranged.insert(spec.path);
  }
  ForEachLeaf(RunConfig::descriptor(), [&ranged](const std::string& path, const google::protobuf::FieldDescriptor* f) {
    using Field = google::protobuf::FieldDescriptor;
    const bool numeric = f->cpp_type() == Field::CPPTYPE_INT32 || f->cpp_type() == Field::CPPTYPE_UINT64 ||
                         f->cpp_type() == Field::CPPTYPE_DOUBLE;
    EXPECT_EQ(numeric, ranged.contains(path)) << path;
    EXPECT_TRUE(!f->is_repeated() || f->cpp_type() == Field::CPPTYPE_INT32)
        << path << ": ResolvedText prints int32 lists";
  });
}

}  // namespace
}  // namespace tactus::config
