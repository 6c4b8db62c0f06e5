// Freezes the configuration's field paths: a rename or removal breaks users' files, so it must be meant.
#include "absl/strings/str_cat.h"
#include "common/config/field_path.h"
#include "common/config/field_rules.h"
#include "common/config/run_config.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "proto/options.pb.h"

namespace tactus::config {
namespace {

using google::protobuf::FieldDescriptor;

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
    "task.unusable_rows",
    "task.rewards",
    "task.question_field",
    "task.answer_field",
    "task.numbers_field",
    "task.target_field",
    "task.sources.name",
    "task.sources.weight",
    "task.sources.task",
    "task.sources.train_path",
    "task.sources.test_path",
    "task.sources.train_size",
    "task.sources.test_size",
    "task.sources.min_numbers",
    "task.sources.max_numbers",
    "task.sources.max_number",
    "task.sources.max_target",
    "task.sources.format_reward",
    "task.sources.rewards",
    "task.sources.question_field",
    "task.sources.answer_field",
    "task.sources.numbers_field",
    "task.sources.target_field",
    "rollout.prompts_per_step",
    "rollout.completions_per_prompt",
    "rollout.max_staleness_steps",
    "rollout.max_prompt_tokens",
    "rollout.max_completion_tokens",
    "rollout.temperature",
    "rollout.top_p",
    "rollout.top_k",
    "rollout.lease_timeout_s",
    "rollout.max_attempts",
    "rollout.stop_token_ids",
    "rollout.max_replaced_groups",
    "rollout.max_turns",
    "rollout.max_turn_tokens",
    "rollout.difficulty_floor",
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
    "credit.normalize",
    "credit.shuffle",
    "credit.ignore_first_token",
    "credit.flow_row_entries",
    "credit.flow_answer_tokens",
    "credit.vine_positions",
    "credit.vine_samples",
    "algorithm.estimator",
    "algorithm.loss",
    "algorithm.aggregation",
    "algorithm.fixed_length_tokens",
    "algorithm.clip_low",
    "algorithm.clip_high",
    "algorithm.tis_cap",
    "algorithm.kl_beta",
    "algorithm.updates_per_batch",
    "algorithm.clip_dual",
    "algorithm.tis_level",
    "algorithm.tis_rule",
    "algorithm.tis_floor",
    "algorithm.kl_estimator",
    "algorithm.kl_place",
    "algorithm.mask_overlong",
    "algorithm.overlong_buffer_tokens",
    "algorithm.overlong_penalty",
    "algorithm.advantage_level",
    "algorithm.entropy_coefficient",
    "optimizer.lr",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.eps",
    "optimizer.weight_decay",
    "optimizer.warmup_steps",
    "optimizer.schedule",
    "optimizer.min_lr_ratio",
    "optimizer.max_grad_norm",
    "optimizer.decay_steps",
    "optimizer.skip_grad_norm",
    "optimizer.max_skipped_updates",
    "learner.steps",
    "learner.micro_batch_tokens",
    "learner.activation_checkpointing",
    "learner.logprob_chunk_tokens",
    "learner.threads",
    "learner.collective_timeout_s",
    "learner.device",
    "learner.gpu_memory_mib",
    "learner.time_limit_s",
    "learner.shard",
    "learner.stream",
    "actor.max_sequences",
    "actor.kv_cache_mib",
    "actor.max_step_tokens",
    "actor.threads",
    "actor.max_leases",
    "actor.device",
    "actor.gpu_memory_mib",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "checkpoint.upload",
    "eval.max_prompts",
    "eval.samples_per_prompt",
    "eval.every_steps",
    "eval.by",
    "eval.temperature",
    "eval.sets.name",
    "eval.sets.test_path",
    "eval.sets.max_prompts",
    "eval.sets.samples_per_prompt",
    "eval.sets.temperature",
    "eval.sets.source",
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
    "service.relay_fan_out",
    "environment.address",
    "environment.timeout_s",
    "gpu.graphs",
    "gpu.flash_attention",
    "gpu.shared_weights",
};

TEST(FieldPathsTest, PathsAreFrozen) {
  EXPECT_EQ(FieldPaths(), std::vector<std::string>(std::begin(kFrozen), std::end(kFrozen)))
      << "A field was added, renamed or removed: that is an interface change. Added ones go into this list.";
}

TEST(FieldPathsTest, EveryFieldSaysWhatItAcceptsAndItsDefaultDoesSo) {
  ForEachLeaf(RunConfig::descriptor(), [](const std::string& path, const FieldDescriptor* field) {
    const FieldRule& rule = RuleOf(*field);
    const bool number = field->cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
                        field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64 ||
                        field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
    EXPECT_EQ(number, rule.has_min()) << path;
    EXPECT_LE(rule.min(), rule.has_max() ? rule.max() : rule.min()) << path;
    EXPECT_TRUE(!field->is_repeated() || field->cpp_type() == FieldDescriptor::CPPTYPE_INT32)
        << path << ": ResolvedText prints int32 lists";
    if (rule.has_derived_default() || rule.has_required() || field->is_repeated()) return;
    const bool may_be_empty = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && AllowedText(*field).empty();
    EXPECT_TRUE(field->has_default_value() || may_be_empty || path == "task.name") << path;
  });
  RunConfig given;  // what has no default
  given.mutable_model()->set_path("m");
  given.mutable_task()->set_name("countdown");
  EXPECT_EQ(CheckRules(given, ""), std::nullopt);
}

// Every value of every enum is read as itself, by name, and no other number is.
TEST(FieldPathsTest, EnumsAreClosed) {
  int values = 0;
  ForEachLeaf(RunConfig::descriptor(), [&values](const std::string& path, const FieldDescriptor* field) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) return;
    if (path.starts_with("task.sources.")) return;  // an enum of the task's
    EXPECT_EQ(field->enum_type()->FindValueByNumber(0), nullptr) << path << ": 0 would be a value without a meaning";
    for (int i = 0; i < field->enum_type()->value_count(); ++i, ++values) {
      const std::string name = field->enum_type()->value(i)->name();
      std::vector<std::string> set = {absl::StrCat(path, "=", name), "optimizer.decay_steps=1"};
      if (path == "credit.strategy" && name == "FLOW") set.emplace_back("credit.head_mode=CALIBRATED");
      if (path == "task.rewards" && name == "ENVIRONMENT") set.emplace_back("environment.address=a:1");
      const auto config =
          ParseRunConfig("model { path: 'm' } task { name: 'countdown' } service { plaintext: true }", "t", set);
      ASSERT_TRUE(config.ok()) << config.status();
      EXPECT_THAT(ResolvedText(*config), ::testing::HasSubstr(absl::StrCat(field->name(), ": ", name, "\n")));
    }
    const size_t dot = path.find('.');
    const auto unknown = ParseRunConfig(absl::StrCat(path.substr(0, dot), " { ", field->name(), ": 77 }"), "t", {});
    EXPECT_THAT(std::string(unknown.status().message()), ::testing::StartsWith("t:1:")) << path;
  });
  EXPECT_EQ(values, 2 + 2 + 2 + 11 + 3 + 2 + 2 + 5 + 3 + 3 + 3 + 2 + 3 + 2 + 4 + 5 + 4 + 2 + 2)
      << "a value was added: say here that it is meant";
}

}  // namespace
}  // namespace tactus::config
