// Parsing, overrides, defaults and validation, with a bad input for each rule.
#include "common/config/run_config.h"

#include <cstdlib>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/config/field_path.h"
#include "common/config/field_rules.h"
#include "common/device/host_limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "proto/options.pb.h"

namespace tactus::config {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kMinimal[] = R"(model { path: "m" }
task { name: "countdown" }
service { plaintext: true }
)";

absl::StatusOr<RunConfig> Parse(const std::vector<std::string>& overrides, const std::string& text = kMinimal) {
  return ParseRunConfig(text, "run.textproto", overrides);
}

std::string ErrorOf(const std::vector<std::string>& overrides, const std::string& text = kMinimal) {
  const absl::StatusOr<RunConfig> config = Parse(overrides, text);
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << config.status();
  return std::string(config.status().message());
}

TEST(RunConfigTest, MinimalConfigGetsDocumentedDefaults) {
  const RunConfig config = Parse({}).value();
  EXPECT_EQ(config.seed(), 1u);
  EXPECT_EQ(config.model().dtype(), FLOAT32);
  EXPECT_EQ(config.rollout().prompts_per_step(), 16);
  EXPECT_EQ(config.credit().q(), "0.4");
  EXPECT_EQ(config.credit().sign_rule(), CreditOptions::SIGN_V2);
  EXPECT_EQ(config.credit().horizon_max_tokens(), 100);
  EXPECT_EQ(config.credit().lookback_tokens(), 3);
  EXPECT_EQ(config.credit().layers_size(), 0);
  EXPECT_EQ(config.optimizer().lr(), 1e-6);
  EXPECT_EQ(config.algorithm().fixed_length_tokens(), 256) << "follows rollout.max_completion_tokens";
  EXPECT_EQ(config.task().prompt_style(), "chat");
}

TEST(RunConfigTest, SyntaxErrorsHaveLineAndColumn) {
  EXPECT_THAT(ErrorOf({}, "model { path: \"m\" }\nrollout {\n  promts_per_step: 3\n}\n"),
              StartsWith("run.textproto:3:18: "));
  EXPECT_THAT(ErrorOf({}, "model { path: \"m\" }\nrollout {\n  promts_per_step: 3\n}\n"), HasSubstr("promts_per_step"));
  EXPECT_THAT(ErrorOf({}, "seed: 1\nseed: 2\n"), StartsWith("run.textproto:2:"));
  EXPECT_THAT(ErrorOf({}, "seed: \"x\""), StartsWith("run.textproto:1:7: "));
  EXPECT_THAT(ErrorOf({}, "model { path: \"m\""), StartsWith("run.textproto:1:"));
  EXPECT_THAT(ErrorOf({}, "model { dtype: FLOAT64 }"), HasSubstr("FLOAT64"));
  EXPECT_THAT(ErrorOf({}, std::string("\0\xff{{{", 5)), StartsWith("run.textproto:1:"));
}

TEST(RunConfigTest, ValidationErrorsPointAtTheFieldsPlace) {
  EXPECT_EQ(ErrorOf({}, std::string(kMinimal) + "rollout {\n  prompts_per_step: 0\n}\n"),
            "run.textproto:5:3: rollout.prompts_per_step is 0: expected a value from 1 to 65536.");
  EXPECT_EQ(
      ErrorOf({"rollout.max_staleness_steps=-1"}),
      "--set rollout.max_staleness_steps=-1: rollout.max_staleness_steps is -1: expected a value from 0 to 1000.");
  EXPECT_EQ(ErrorOf({}, "task { name: \"countdown\" } service { plaintext: true }"),
            "run.textproto: model.path is missing: expected a Hugging Face model folder.");
}

TEST(RunConfigTest, OverridesSetEveryKindOfField) {
  const RunConfig config =
      Parse({"seed=18446744073709551615", "rollout.temperature=0.75", "model.dtype=BFLOAT16", "model.path=a=b c",
             "learner.activation_checkpointing=true", "rollout.stop_token_ids=1, 2,3", "rollout.top_k=5",
             "rollout.top_k=6", "credit.strategy=RANDOM"})
          .value();
  EXPECT_EQ(config.seed(), 18446744073709551615u);
  EXPECT_EQ(config.rollout().temperature(), 0.75);
  EXPECT_EQ(config.model().dtype(), BFLOAT16);
  EXPECT_EQ(config.model().path(), "a=b c");
  EXPECT_TRUE(config.learner().activation_checkpointing());
  EXPECT_THAT(config.rollout().stop_token_ids(), ::testing::ElementsAre(1, 2, 3));
  EXPECT_EQ(config.rollout().top_k(), 6) << "the last one wins";
  EXPECT_EQ(config.credit().strategy(), CreditOptions::RANDOM);
}

TEST(RunConfigTest, RepeatedOverrideReplaces) {
  const std::string text = std::string(kMinimal) + "rollout { stop_token_ids: [7, 8] }";
  EXPECT_THAT(Parse({"rollout.stop_token_ids=[9]"}, text)->rollout().stop_token_ids(), ::testing::ElementsAre(9));
  EXPECT_EQ(Parse({"rollout.stop_token_ids="}, text)->rollout().stop_token_ids_size(), 0);
}

TEST(RunConfigTest, BadOverridesSayWhatWasExpected) {
  EXPECT_THAT(ErrorOf({"rollout.temprature=1"}), HasSubstr("rollout has prompts_per_step"));
  EXPECT_THAT(ErrorOf({"nothing=1"}), HasSubstr("the top level has seed"));
  EXPECT_THAT(ErrorOf({"rollout=1"}), HasSubstr("a group of fields"));
  EXPECT_THAT(ErrorOf({"seed.x=1"}), HasSubstr("seed is a single value"));
  EXPECT_THAT(ErrorOf({"seed"}), HasSubstr("expected path.to.field=value"));
  EXPECT_THAT(ErrorOf({"=1"}), HasSubstr("expected path.to.field=value"));
  EXPECT_THAT(ErrorOf({".=1"}), HasSubstr("there is no field"));
  EXPECT_THAT(ErrorOf({"seed=-1"}), HasSubstr("0 to 2^64"));
  EXPECT_THAT(ErrorOf({"rollout.top_k=99999999999"}), HasSubstr("32 bits"));
  EXPECT_THAT(ErrorOf({"rollout.top_k=1x"}), HasSubstr("32 bits"));
  EXPECT_THAT(ErrorOf({"optimizer.lr=nan"}), HasSubstr("a finite number"));
  EXPECT_THAT(ErrorOf({"optimizer.lr=1e999"}), HasSubstr("a finite number"));
  EXPECT_THAT(ErrorOf({"service.plaintext=yes"}), HasSubstr("true or false"));
  EXPECT_THAT(ErrorOf({"algorithm.loss=PPO"}), HasSubstr("one of CLIP, GSPO, CISPO"));
  EXPECT_THAT(ErrorOf({"algorithm.loss=LOSS_UNSPECIFIED"}), HasSubstr("one of CLIP"));
  EXPECT_THAT(ErrorOf({"rollout.stop_token_ids=1,x"}), HasSubstr("32 bits"));
}

// {override, part of the sentence}: one for each rule that is not a plain range.
TEST(RunConfigTest, CrossFieldRules) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"model.path="}, "model.path is missing"},
      {{"model.prompt_template=Q: {question}"}, "model.prompt_template has no {user}"},
      {{"task.name="}, "task.name is missing"},
      {{"task.name=chess"}, "task.name is \"chess\""},
      {{"task.name=qa"}, "task.train_path is missing"},
      {{"task.name=qa", "task.train_path=a.jsonl"}, "task.test_path is missing"},
      {{"task.name=countdown", "task.train_path=a.jsonl"}, "task.test_path is missing"},
      {{"task.name=countdown", "task.test_path=a.jsonl"}, "task.train_path is missing"},
      {{"task.min_numbers=5"}, "task.min_numbers is 5: expected at most task.max_numbers = 4"},
      {{"task.prompt_style=plain"}, "task.prompt_style is \"plain\""},
      {{"learner.micro_batch_tokens=511"}, "learner.micro_batch_tokens is 511: expected at least 512"},
      {{"actor.max_step_tokens=31"}, "actor.max_step_tokens is 31"},
      {{"algorithm.updates_per_batch=3"}, "algorithm.updates_per_batch is 3: expected a divisor"},
      {{"algorithm.clip_dual=1.2"},
       "algorithm.clip_dual is 1.2: expected 0, or more than 1 + algorithm.clip_high = 1.2"},
      {{"algorithm.clip_dual=3", "algorithm.loss=CISPO"}, "algorithm.clip_dual is given with loss: CISPO"},
      {{"algorithm.entropy_coefficient=0.01", "rollout.temperature=0.8"},
       "algorithm.entropy_coefficient is given with rollout.temperature = 0.8: expected temperature 1"},
      {{"algorithm.tis_floor=0.5"}, "algorithm.tis_floor is given with tis_rule: TRUNCATE"},
      {{"algorithm.tis_rule=MASK", "algorithm.tis_floor=3"},
       "algorithm.tis_floor is 3: expected at most algorithm.tis_cap"},
      {{"algorithm.overlong_buffer_tokens=257"}, "algorithm.overlong_buffer_tokens is 257: expected at most"},
      {{"optimizer.schedule=WSD"}, "optimizer.decay_steps is 0: expected the updates in which the learning rate falls"},
      {{"service.tls_cert_path=c", "service.tls_ca_path=a"}, "service.tls_key_path is missing"},
      {{"service.plaintext=false"}, "service.plaintext is false and no certificate is given"},
      {{"service.tls_cert_path=c", "service.tls_key_path=k", "service.tls_ca_path=a"},
       "service.plaintext is true although"},
      {{"service.listen=localhost"}, "service.listen is \"localhost\": expected host:port"},
      {{"service.listen=::1:80"}, "service.listen is"},
      {{"service.listen=h:65536"}, "service.listen is"},
      {{"service.metrics_listen=:9"}, "service.metrics_listen is"},
      {{"service.run_id=a b"}, "service.run_id is"},
      {{"service.run_id="}, "service.run_id is"},
      {{"rollout.stop_token_ids=3,-4"}, "rollout.stop_token_ids holds -4"},
      {{"credit.horizon_min_tokens=101"},
       "credit.horizon_min_tokens is 101: expected at most credit.horizon_max_tokens = 100"},
      {{"credit.paper=PAPER_V1", "credit.horizon_min_tokens=51"}, "expected at most credit.horizon_max_tokens = 50"},
      {{"credit.layers=-1,2"}, "credit.layers holds -1"},
      {{"credit.layers=3,3"}, "credit.layers holds 3 after 3"},
      {{"credit.layers=3,2"}, "credit.layers holds 2 after 3"},
      {{"credit.calibrate_every_versions=-1"}, "credit.calibrate_every_versions is -1"},
      {{"credit.normalize=true", "credit.amplification=0"}, "credit.amplification is 0: expected more"},
      {{"credit.normalize=true", "credit.amplification=0.3", "credit.strategy=COUPLED"},
       "credit.amplification is 0.3: expected more"},
      {{"credit.amplification=0.3", "credit.strategy=COUPLED"},
       "credit.amplification is 0.3: expected more with strategy: COUPLED"},
      {{"credit.strategy=FLOW"}, "credit.head_mode is PER_RESPONSE with strategy: FLOW: expected CALIBRATED"},
      {{"credit.window_tokens=4097"}, "credit.window_tokens is 4097: expected a value from 1 to 4096"},
      {{"credit.alpha=1.5"}, "credit.alpha is 1.5: expected a value from 0 to 1"},
  };
  for (const auto& [overrides, expected] : cases) EXPECT_THAT(ErrorOf(overrides), HasSubstr(expected));
  for (const char* unnamed : {"strategy: STRATEGY_UNSPECIFIED", "sign_rule: 0", "paper: V1", "head_mode: 3"}) {
    EXPECT_THAT(ErrorOf({}, std::string(kMinimal) + "credit { " + unnamed + " }"),
                AllOf(StartsWith("run.textproto:4:"), HasSubstr("Unknown enumeration value")));
  }
}

TEST(RunConfigTest, EveryStrategyAndAnOpenHorizonAreAccepted) {
  for (const char* strategy : {"UNIFORM", "RANDOM", "ENTROPY", "LOCAL_CHUNK", "GLOBAL_ANCHOR", "COUPLED",
                               "BOTTOM_DELTA", "BOTTOM_FAI", "RECEIVER", "VINE"}) {
    EXPECT_TRUE(Parse({std::string("credit.strategy=") + strategy}).ok()) << strategy;
  }
  EXPECT_TRUE(Parse({"credit.horizon_min_tokens=500", "credit.horizon_max_tokens=0"}).ok());
  EXPECT_TRUE(Parse({"credit.strategy=COUPLED", "credit.sign_rule=SIGN_NONE"}).ok()) << "a control";
  EXPECT_TRUE(Parse({"credit.layers=0,7,29"}).ok());
}

TEST(RunConfigTest, ThePaperSetsOnlyWhatIsNotGiven) {
  const CreditOptions v1 = Parse({"credit.paper=PAPER_V1"})->credit();
  EXPECT_EQ(v1.horizon_max_tokens(), 50);
  EXPECT_EQ(v1.sign_rule(), CreditOptions::SIGN_V1);
  const CreditOptions given =
      Parse({"credit.paper=PAPER_V1", "credit.horizon_max_tokens=0", "credit.sign_rule=SIGN_NONE"})->credit();
  EXPECT_EQ(given.horizon_max_tokens(), 0) << "0, no limit, is a given value";
  EXPECT_EQ(given.sign_rule(), CreditOptions::SIGN_NONE);
}

TEST(RunConfigTest, CreditShareIsAnExactDecimal) {
  for (const char* good : {"0.4", "1", "1.0", "0.05", ".4", "0.333333333"}) {
    EXPECT_TRUE(Parse({std::string("credit.q=") + good}).ok()) << good;
  }
  for (const char* bad : {"", "0", "0.0", "1.01", "-0.4", "4e-1", "0.4.1", "2/5", "nan", "0.3333333333"}) {
    EXPECT_THAT(ErrorOf({std::string("credit.q=") + bad}), HasSubstr("credit.q is")) << bad;
  }
  for (const char* above_zero : {"credit.head_share", "credit.receiver_share"}) {
    EXPECT_THAT(ErrorOf({std::string(above_zero) + "=0"}), HasSubstr(std::string(above_zero) + " is \"0\""));
  }
  for (const char* from_zero : {"credit.waad_quantile", "credit.delta_quantile", "credit.audit_share"}) {
    EXPECT_TRUE(Parse({std::string(from_zero) + "=0"}).ok()) << from_zero;
    EXPECT_THAT(ErrorOf({std::string(from_zero) + "=1.1"}), HasSubstr(std::string(from_zero) + " is \"1.1\""));
  }
}

TEST(RunConfigTest, MutualTlsIsAccepted) {
  EXPECT_TRUE(Parse({"service.plaintext=false", "service.tls_cert_path=c", "service.tls_key_path=k",
                     "service.tls_ca_path=a", "service.listen=[::1]:8443"})
                  .ok());
}

TEST(RunConfigTest, CheckpointsAreUploadedWhereOneMayWrite) {
  for (const char* uri : {"s3://bucket/runs/a", "gs://bucket/a", "file:///mnt/runs/a", ""}) {
    EXPECT_TRUE(Parse({absl::StrCat("checkpoint.upload=", uri)}).ok()) << uri;
  }
  EXPECT_EQ(Fingerprint(Parse({"checkpoint.upload=s3://bucket/a"}).value()), Fingerprint(Parse({}).value()));
  for (const char* none : {"hf://org/name", "runs/a", "s3://", "s3://key:word@bucket/a"}) {
    EXPECT_THAT(ErrorOf({absl::StrCat("checkpoint.upload=", none)}),
                HasSubstr("expected s3://BUCKET/FOLDER, gs://BUCKET/FOLDER or file:///FOLDER, without a key in it"))
        << none;
  }
}

// Each bound of each number is accepted where no other field stands against it, and the next number beyond is refused
// with the range in the sentence.
TEST(RunConfigTest, EveryNumberHasARangeThatIsEnforced) {
  using google::protobuf::FieldDescriptor;
  ForEachLeaf(RunConfig::descriptor(), [](const std::string& path, const FieldDescriptor* field) {
    const FieldRule& rule = RuleOf(*field);
    if (!rule.has_min() || field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) return;  // no seed is out of range
    if (path.starts_with("eval.sets.")) return;                                           // EvalSetsHaveTheirRules
    if (path.starts_with("task.sources.")) return;                                        // task_sources_test.cc
    const char* verb = field->is_repeated() ? " holds " : " is ";
    const std::string below = absl::StrCat(path, "=", rule.min() - 1);
    EXPECT_THAT(ErrorOf({below}), AllOf(HasSubstr(path + verb), HasSubstr(AllowedText(*field)))) << path;
    if (!rule.has_max()) return;
    const bool whole = field->cpp_type() == FieldDescriptor::CPPTYPE_INT32;
    const std::string above = whole ? absl::StrCat(static_cast<int64_t>(rule.max()) + 1) : absl::StrCat(rule.max() * 2);
    EXPECT_THAT(ErrorOf({path + "=" + above}), AllOf(HasSubstr(path + verb), HasSubstr(AllowedText(*field)))) << path;
  });
}

TEST(RunConfigTest, EvalSetsHaveTheirRules) {
  const auto text = [](const std::string& sets, const std::string& by = "ACTORS") {
    return absl::StrCat(kMinimal, "eval {\n  by: ", by, " temperature: 0.5\n  ", sets, "\n}\n");
  };
  const auto config =
      Parse({}, text("sets { name: 'greedy' temperature: 0 } sets { name: 'many' samples_per_prompt: 8 }"));
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->eval().sets_size(), 2);
  EXPECT_EQ(config->eval().sets(0).temperature(), 0);
  EXPECT_EQ(config->eval().sets(1).temperature(), 0.5) << "eval's";
  EXPECT_EQ(config->eval().sets(1).max_prompts(), 1000000);
  EXPECT_EQ(Fingerprint(*config), Fingerprint(Parse({}).value()));
  const std::string resolved = ResolvedText(*config);
  EXPECT_THAT(resolved, HasSubstr("  sets {\n    name: \"many\"\n    test_path: \"\"\n    max_prompts: 1000000\n"
                                  "    samples_per_prompt: 8\n    temperature: 0.5\n    source: \"\"\n  }\n"));
  EXPECT_EQ(ResolvedText(ParseRunConfig(resolved, "resolved", {}).value()), resolved);
  EXPECT_EQ(ErrorOf({}, text("sets { name: 'a' samples_per_prompt: 0 }")),
            "run.textproto:6:20: eval.sets[0].samples_per_prompt is 0: expected a value from 1 to 4096.");
  EXPECT_THAT(ErrorOf({}, text("sets { name: 'a' } sets { name: 'b' temperature: -1 }")),
              HasSubstr("eval.sets[1].temperature is -1: expected a value from 0 to 100"));
  EXPECT_THAT(ErrorOf({}, text("sets { name: 'a' max_prompts: 0 }")), HasSubstr("eval.sets[0].max_prompts is 0"));
  EXPECT_THAT(ErrorOf({}, text("sets { }")), HasSubstr("eval.sets[0].name is missing: expected 1 to 63 letters"));
  EXPECT_THAT(ErrorOf({}, text("sets { name: 'a b' }")), HasSubstr("eval.sets[0].name is \"a b\": expected 1 to 63"));
  EXPECT_THAT(ErrorOf({}, text("sets { name: 'a' } sets { name: 'a' }")),
              HasSubstr("eval.sets[1].name is \"a\": expected a name that no other set has, and not \"test\""));
  EXPECT_THAT(ErrorOf({}, text("sets { name: 'test' }")), HasSubstr("and not \"test\""));
  EXPECT_THAT(ErrorOf({}, text("sets { name: 'a' test_path: 'b' }")),
              HasSubstr("eval.sets[0].test_path is given: expected none, as task countdown has one test set"));
  EXPECT_THAT(
      ErrorOf({}, text("sets { name: 'a' }", "LAUNCHER")),
      HasSubstr("eval.sets[0].name is \"a\", with eval.max_prompts: 0, with which the launcher measures nothing"));
  EXPECT_TRUE(Parse({}, text("max_prompts: 8 sets { name: 'a' }", "LAUNCHER")).ok());
  EXPECT_THAT(ErrorOf({"eval.sets.name=a"}), HasSubstr("\"eval.sets\" is a list of groups: expected it in the"));
  EXPECT_THAT(ErrorOf({"eval.sets=a"}), HasSubstr("\"eval.sets\" is a group of fields"));
}

TEST(RunConfigTest, ResolvedTextIsCompleteAndStable) {
  const RunConfig config =
      Parse({"optimizer.lr=3e-4", "model.system_prompt=say \"é\"\n", "rollout.stop_token_ids=5,6"}).value();
  const std::string text = ResolvedText(config);
  EXPECT_THAT(text, HasSubstr("  lr: 3e-04\n"));
  EXPECT_THAT(text, HasSubstr("  stop_token_ids: [5, 6]\n"));
  EXPECT_THAT(text, HasSubstr("  tls_cert_path: \"\"\n"));
  const RunConfig again = ParseRunConfig(text, "resolved", {}).value();
  EXPECT_EQ(ResolvedText(again), text);
  EXPECT_EQ(again.model().system_prompt(), "say \"é\"\n");
  for (const std::string& path : FieldPaths()) {
    if (path.starts_with("eval.sets.") || path.starts_with("task.sources.")) continue;  // there are none
    const std::string leaf = path.substr(path.rfind('.') + 1);
    EXPECT_THAT(text, HasSubstr(leaf + ": ")) << path;
  }
}

TEST(RunConfigTest, DevicesHaveNames) {
  EXPECT_EQ(Parse({})->actor().device(), "auto");
  EXPECT_EQ(Parse({"actor.device=cuda:3"})->actor().device(), "cuda:3");
  EXPECT_EQ(ErrorOf({"learner.device=gpu"}),
            "--set learner.device=gpu: learner.device is \"gpu\": expected \"auto\", \"cpu\" or \"cuda:N\", N counting "
            "the GPUs from 0.");
  EXPECT_EQ(ErrorOf({}, std::string(kMinimal) + "actor { device: \"\" }"),
            "run.textproto:4:9: actor.device is \"\": expected \"auto\", \"cpu\" or \"cuda:N\", N counting the GPUs "
            "from 0.");
}

TEST(RunConfigTest, SwitchesOfAGpuAreSetByTheFileTheEnvironmentAndSet) {
  const std::string path = ::testing::TempDir() + "/gpu_switches.textproto";
  std::ofstream(path) << kMinimal << "gpu { flash_attention: false }";
  const auto load = [&](const std::vector<std::string>& overrides = {}) { return LoadRunConfig(path, overrides); };
  EXPECT_TRUE(load()->gpu().graphs());
  EXPECT_TRUE(load()->gpu().shared_weights());
  EXPECT_FALSE(load()->gpu().flash_attention());
  const std::string base = Fingerprint(*load());
  setenv("TACTUS_GPU_GRAPHS", "0", 1);
  setenv("TACTUS_GPU_FLASH_ATTENTION", "true", 1);
  setenv("TACTUS_GPU_SHARED_WEIGHTS", "false", 1);
  EXPECT_FALSE(load()->gpu().graphs());
  EXPECT_TRUE(load()->gpu().flash_attention()) << "whatever the file says";
  EXPECT_FALSE(load()->gpu().shared_weights());
  EXPECT_TRUE(load({"gpu.graphs=true"})->gpu().graphs()) << "whatever the environment says";
  EXPECT_EQ(Fingerprint(*load()), base) << "of a process";
  setenv("TACTUS_GPU_GRAPHS", "off", 1);
  EXPECT_EQ(load().status(),
            absl::InvalidArgumentError("TACTUS_GPU_GRAPHS cannot be \"off\": expected 1, true, 0 or false."));
  setenv("TACTUS_GPU_GRAPHS", "", 1);
  EXPECT_TRUE(load()->gpu().graphs()) << "as if it were not there";
  for (const char* name : {"TACTUS_GPU_GRAPHS", "TACTUS_GPU_FLASH_ATTENTION", "TACTUS_GPU_SHARED_WEIGHTS"}) {
    unsetenv(name);
  }
}

TEST(RunConfigTest, AnEnvironmentHasAnAddressAndIsAsked) {
  EXPECT_TRUE(Parse({"task.rewards=ENVIRONMENT", "environment.address=rewards:9000"}).ok());
  EXPECT_TRUE(Parse({"task.name=environment", "environment.address=[::1]:9000"}).ok());
  EXPECT_EQ(ErrorOf({"task.rewards=ENVIRONMENT"}),
            "run.textproto: environment.address is missing: expected host:port of your server, as task.rewards is "
            "ENVIRONMENT.");
  EXPECT_THAT(ErrorOf({"task.name=environment"}), HasSubstr("as task.name is \"environment\""));
  EXPECT_THAT(ErrorOf({"task.name=environment", "environment.address=a:1", "rollout.lease_timeout_s=9"}),
              HasSubstr("environment.timeout_s is 60: expected at most rollout.lease_timeout_s = 9"));
  EXPECT_THAT(ErrorOf({"environment.address=a:9000"}), HasSubstr("expected task.rewards: ENVIRONMENT"));
  EXPECT_EQ(
      ErrorOf({"task.name=environment", "environment.address=a:0"}),
      "--set environment.address=a:0: environment.address is \"a:0\": expected host:port or [IPv6]:port, the port "
      "above 0.");
}

TEST(RunConfigTest, FingerprintIgnoresWhatBelongsToOneMachine) {
  const std::string base = Fingerprint(Parse({}).value());
  EXPECT_EQ(base.size(), 64u);
  EXPECT_EQ(Fingerprint(Parse({"service.listen=0.0.0.0:7000"}).value()), base);
  EXPECT_EQ(Fingerprint(Parse({"actor.threads=4"}).value()), base);
  EXPECT_EQ(Fingerprint(Parse({"learner.threads=4"}).value()), base);
  EXPECT_EQ(Fingerprint(Parse({"learner.device=cuda:1", "learner.gpu_memory_mib=9"}).value()), base);
  EXPECT_EQ(Fingerprint(Parse({"learner.shard=OPTIMIZER"}).value()), base) << "no result depends on it";
  EXPECT_EQ(Fingerprint(Parse({"learner.stream=false"}).value()), base) << "nor on this";
  EXPECT_EQ(Fingerprint(Parse({"learner.steps=77"}).value()), base) << "a run may be made longer";
  EXPECT_EQ(Fingerprint(Parse({"learner.time_limit_s=60", "optimizer.max_skipped_updates=3"}).value()), base);
  EXPECT_EQ(
      Fingerprint(Parse({"eval.every_steps=5", "eval.by=ACTORS", "eval.temperature=0", "learner.shard=NONE"}).value()),
      base)
      << "younger, of a machine";
  EXPECT_NE(Fingerprint(Parse({"optimizer.skip_grad_norm=3"}).value()), base);
  EXPECT_NE(Fingerprint(Parse({"seed=2"}).value()), base);
  EXPECT_NE(Fingerprint(Parse({"task.unusable_rows=LEAVE_OUT"}).value()), base);
  EXPECT_EQ(Fingerprint(Parse({"task.unusable_rows=REFUSE"}).value()), base) << "what older runs did";
  EXPECT_NE(Fingerprint(Parse({"credit.q=0.5"}).value()), base);
  EXPECT_EQ(Fingerprint(Parse({"credit.normalize=false", "credit.shuffle=KEPT", "credit.ignore_first_token=false",
                               "credit.flow_row_entries=32", "credit.flow_answer_tokens=8", "credit.vine_positions=8",
                               "credit.vine_samples=8"})
                            .value()),
            base)
      << "younger, at their defaults";
  for (const char* set :
       {"credit.normalize=true", "credit.shuffle=KIND", "credit.ignore_first_token=true", "credit.flow_row_entries=31",
        "credit.flow_answer_tokens=9", "credit.vine_positions=9", "credit.vine_samples=9"}) {
    EXPECT_NE(Fingerprint(Parse({set}).value()), base) << set;
  }
  const std::string served = Fingerprint(Parse({"task.rewards=ENVIRONMENT", "environment.address=a:1"}).value());
  EXPECT_NE(served, base);
  EXPECT_EQ(
      Fingerprint(Parse({"task.rewards=ENVIRONMENT", "environment.address=b:2", "environment.timeout_s=9"}).value()),
      served);
  EXPECT_NE(Fingerprint(Parse({"rollout.temperature=0.9"}).value()), base);
}

// A run that began with an older version goes on only if its configuration has the fingerprint that is in its
// checkpoints. This one is of 0.1.0, where it was the SHA-256 of the resolved text with the fields of one machine
// cleared.
TEST(RunConfigTest, FingerprintsOfOlderVersionsHold) {
  EXPECT_EQ(Fingerprint(Parse({}).value()), "888eb1d61d4c5ad24faeac26967b0096a39aba74001c0ebdf7709d992942ea4f")
      << "a new field without default_not_in_fingerprint changes this: runs of earlier builds would not go on";
}

TEST(RunConfigTest, WarnsOfTruncatedSampling) {
  EXPECT_THAT(Warnings(Parse({"rollout.top_p=0.9"}).value()), ::testing::Contains(HasSubstr("rollout.top_p")));
  EXPECT_THAT(Warnings(Parse({"rollout.top_k=20"}).value()), ::testing::Contains(HasSubstr("rollout.top_k")));
  EXPECT_THAT(Warnings(Parse({}).value()), ::testing::Not(::testing::Contains(HasSubstr("rollout.top_p"))));
}

TEST(RunConfigTest, VineHasItsRules) {
  const auto error = [](std::vector<std::string> overrides) {
    overrides.emplace_back("credit.strategy=VINE");
    return ErrorOf(overrides);
  };
  EXPECT_EQ(
      error({"task.rewards=ENVIRONMENT", "environment.address=a:1"}),
      "--set credit.strategy=VINE: credit.strategy is VINE with rewards of an environment: expected a task with a "
      "verifier, by which the actor judges continuations of its answers.");
  EXPECT_THAT(error({"task.name=environment", "environment.address=a:1"}), HasSubstr("credit.strategy is VINE with"));
  EXPECT_EQ(
      error({"rollout.max_staleness_steps=1"}),
      "--set rollout.max_staleness_steps=1: rollout.max_staleness_steps is 1 with credit.strategy: VINE: expected "
      "0, so that an answer and its continuations are sampled by the same weights.");
  EXPECT_EQ(error({"credit.vine_positions=64", "credit.vine_samples=129"}),
            "--set credit.vine_samples=129: credit.vine_samples is 129, which makes 66048 continuations a group "
            "(rollout.completions_per_prompt x credit.vine_positions x credit.vine_samples): expected at most 65536.");
  EXPECT_TRUE(Parse({"credit.strategy=VINE", "credit.vine_positions=64", "credit.vine_samples=128"}).ok());
  EXPECT_TRUE(Parse({"credit.vine_positions=256", "credit.vine_samples=256", "rollout.max_staleness_steps=1"}).ok())
      << "of no meaning for others";
}

TEST(RunConfigTest, SaysWhatVineSamples) {
  EXPECT_EQ(ContinuationsPerToken(Parse({"credit.strategy=COUPLED"}).value()), 0);
  // 3 from the prompt for 4 answers, then 3 each from 3/4, 2/4 and 1/4 of the answer before its end.
  const RunConfig vine = Parse({"credit.strategy=VINE", "credit.vine_positions=4", "credit.vine_samples=3",
                                "rollout.completions_per_prompt=4"})
                             .value();
  EXPECT_DOUBLE_EQ(ContinuationsPerToken(vine), 0.75 + 3 * 1.5);
  EXPECT_THAT(Warnings(vine), ElementsAre("credit.strategy is VINE: about 5.25 tokens are sampled for the credit of "
                                          "each token of an answer."));
}

TEST(RunConfigTest, WarnsOfMoreThreadsThanCpus) {
  const int cpus = OwnHostLimits().cpus;
  EXPECT_THAT(Warnings(Parse({absl::StrCat("learner.threads=", cpus), absl::StrCat("actor.threads=", cpus)}).value()),
              ::testing::IsEmpty());
  for (const std::string field : {"learner.threads", "actor.threads"}) {
    EXPECT_THAT(Warnings(Parse({field + "=4096"}).value()),
                ElementsAre(AllOf(HasSubstr(field + " is 4096"), HasSubstr(absl::StrCat("may use ", cpus, " CPUs")))));
  }
}

TEST(RunConfigTest, WarnsOfPlaintextBeyondLoopback) {
  EXPECT_THAT(Warnings(Parse({"service.listen=0.0.0.0:7000"}).value()),
              ::testing::Contains(HasSubstr("not encrypted")));
  EXPECT_THAT(Warnings(Parse({"service.listen=127.0.0.1.example:7000"}).value()),
              ::testing::Contains(HasSubstr("not encrypted")));
  EXPECT_THAT(Warnings(Parse({"service.listen=[::1]:7000"}).value()), ::testing::IsEmpty());
  EXPECT_THAT(Warnings(Parse({}).value()), ::testing::IsEmpty());
}

TEST(RunConfigTest, FilesAreReadAndNamed) {
  EXPECT_EQ(LoadRunConfig("/nonexistent/run.textproto", {}).status().code(), absl::StatusCode::kNotFound);
  const std::string path = ::testing::TempDir() + "/run_config_test.textproto";
  std::ofstream(path) << kMinimal << "bogus: 1\n";
  EXPECT_THAT(std::string(LoadRunConfig(path, {}).status().message()), StartsWith(path + ":4:"));
  std::ofstream(path) << "\xEF\xBB\xBF" << kMinimal << "# a comment\r\nseed: 3\r\n\r\n";
  const auto edited = LoadRunConfig(path, {});
  ASSERT_TRUE(edited.ok()) << edited.status();
  EXPECT_EQ(edited->seed(), 3u);
  std::ofstream(path) << std::string(kMaxConfigBytes + 1, '#');
  EXPECT_EQ(LoadRunConfig(path, {}).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tactus::config
