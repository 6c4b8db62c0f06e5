// The `tactus` binary as a user meets it: exit codes, sentences on stderr, results on stdout.
#include "tests/tools/cli.h"

#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/model/folder/hf_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/model/golden_models.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(CliTest, HelpListsEveryCommandAndEachHasAnExample) {
  const Result overview = Tactus("--help");
  EXPECT_EQ(overview.code, 0);
  int commands = 0;
  std::istringstream lines(overview.out);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ")) continue;
    ++commands;
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    const Result help = Tactus(name + " --help");
    EXPECT_EQ(help.code, 0) << name;
    EXPECT_THAT(help.out, HasSubstr("Usage: tactus " + name)) << name;
    EXPECT_THAT(help.out, HasSubstr("Example:\n  ")) << name;
    EXPECT_THAT(help.out, HasSubstr("tactus " + name + " ")) << name;
    EXPECT_EQ(help.err, "") << name;
  }
  EXPECT_GE(commands, 7);
}

TEST_F(CliTest, VersionAndMissingCommand) {
  EXPECT_THAT(
      Tactus("--version").out,
      MatchesRegex(
          "tactus [0-9]+\\.[0-9]+\\.[0-9]+ \\([0-9a-z]+\\), torch [0-9.]+\\+cu[0-9]+, (for CPUs only\n|CUDA 1.*\n.*)"));
  const Result nothing = Tactus("");
  EXPECT_EQ(nothing.code, 2);
  EXPECT_THAT(nothing.err, HasSubstr("Usage: tactus COMMAND"));
  ExpectMistake("trian", "there is no command \"trian\": did you mean train?");
  ExpectMistake("frobnicate", "`tactus --help` lists them");
}

TEST_F(CliTest, FlagMistakes) {
  ExpectMistake("check-config", "expected either a configuration file or --fields");
  ExpectMistake("check-config a --fields", "expected either a configuration file or --fields");
  ExpectMistake("check-config a b", "did not expect \"b\"");
  ExpectMistake("check-config a --sett x=1", "there is no flag --sett: did you mean --set?");
  ExpectMistake("train", "expected either --config FILE, for a new run, or --resume DIR");
  ExpectMistake("train --config a --resume b", "expected either --config FILE");
  ExpectMistake("train --resume b --out c", "--out does not go with --resume");
  ExpectMistake("train --config a --actors 0", "--actors cannot be \"0\": expected a whole number from 1");
  ExpectMistake("train --config a --learners x", "--learners cannot be \"x\"");
}

TEST_F(CliTest, CheckConfigPrintsEveryDefaultAndItsOutputLoads) {
  const Result first = Tactus("check-config configs/quickstart.textproto --set seed=9 --set rollout.top_k=3");
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.out, StartsWith("seed: 9\n"));
  EXPECT_THAT(first.out, HasSubstr("lease_timeout_s: 300"));
  EXPECT_THAT(first.err, HasSubstr("warning: rollout.top_p and rollout.top_k"));
  const Result again = Tactus("check-config " + Write("resolved.textproto", first.out));
  EXPECT_EQ(again.out, first.out);
}

TEST_F(CliTest, CheckConfigListsTheFields) {
  const Result fields = Tactus("check-config --fields");
  EXPECT_EQ(fields.code, 0) << fields.err;
  EXPECT_THAT(fields.out, HasSubstr("\nrollout.max_staleness_steps         0               from 0 to 1000\n"));
}

TEST_F(CliTest, CheckConfigPredictsMemoryWithoutTheModel) {
  const std::string command =
      "check-config configs/qwen3_4b_countdown.textproto --memory --gpus 8 --learners 4 --actors 4 --model-config "
      "tests/goldens/model_configs/qwen3-4b-base/config.json --gpu-memory-gib ";
  const Result fits = Tactus(command + "79");
  EXPECT_EQ(fits.code, 0) << fits.err;
  EXPECT_THAT(fits.out, HasSubstr("70.5 GiB of 79.0 GiB: 8.5 GiB left\n"));
  const Result divided = Tactus(command + "60");
  EXPECT_EQ(divided.code, 0) << divided.err;
  EXPECT_THAT(divided.out, HasSubstr("learner.shard OPTIMIZER, as AUTO chooses: each of 4 ranks has its part"));
  const Result small = Tactus(command + "40 --set learner.shard=NONE");
  EXPECT_EQ(small.code, 2);
  EXPECT_THAT(small.out, HasSubstr("70.5 GiB of 40.0 GiB: 30.5 GiB too much\n"));
  EXPECT_THAT(small.err,
              StartsWith("tactus check-config: learner-0 needs 70.5 GiB of memory on cuda:0, where 40.0 GiB "));
  ExpectMistake("check-config configs/quickstart.textproto --memory --set model.path=nowhere",
                "nowhere/config.json is not there: expected the shape of the model of configs/quickstart.textproto");
  EXPECT_EQ(Tactus("check-config configs/quickstart.textproto --memory --actors 2").code, 0);
}

TEST_F(CliTest, CheckConfigMistakes) {
  ExpectMistake("check-config nowhere.textproto", "nowhere.textproto");
  ExpectMistake("check-config " + Write("a.textproto", "model { path: \"m\" }\ntasks {}\n"), "a.textproto:2:7: ");
  ExpectMistake("check-config configs/quickstart.textproto --set optimizer.lr=-1",
                "--set optimizer.lr=-1: optimizer.lr is -1: expected a value from 0 to 10.");
}

TEST_F(CliTest, CheckConfigReadsTheFileAloneWhereItIsToldTo) {
  const Result result =
      Tactus("check-config --config-only configs/quickstart.textproto --set model.path=/nonexistent/m");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("path: \"/nonexistent/m\""));
}

// What a run would find only when it has begun.
TEST_F(CliTest, CheckConfigAndTrainReadModelAndDataFirst) {
  const std::string good = Write("good.jsonl", "{\"question\":\"a\",\"answer\":1}\n"),
                    bad = Write("bad.jsonl", "{\"question\":\"b\",\"answer\":2}\n{\"question\":\"c\"}\n");
  const std::string qa = "--set task.name=qa --set task.train_path=" + good + " --set task.test_path=";
  const std::pair<std::string, std::string> cases[] = {
      {"--set model.path=/nonexistent/m", "model.path is \"/nonexistent/m\": expected a model folder"},
      {"--set model.path=configs", "configs/config.json"},
      {qa + bad, "bad.jsonl:2: key \"answer\" is missing"},
      {qa + Path("none.jsonl"), "none.jsonl"},
      {qa + good, "asks the question of"},
      {"--set credit.layers=99", "credit.layers holds 99: expected layers from 0 to"},
      {"--set credit.strategy=UNIFORM --set credit.layers=99", "credit.layers holds 99: expected layers from 0 to"},
      {"--set rollout.max_prompt_tokens=100000 --set learner.micro_batch_tokens=200000",
       "rollout.max_prompt_tokens + rollout.max_completion_tokens is "},
  };
  for (const auto& [set, sentence] : cases) {
    ExpectMistake("check-config configs/quickstart.textproto " + set, sentence);
    ExpectMistake("train --config configs/quickstart.textproto --out " + Path("run") + " " + set, sentence);
    EXPECT_FALSE(std::filesystem::exists(Path("run"))) << set;
  }
}

TEST_F(CliTest, EvalAsksTheQuestionsOfAFile) {
  const std::string data =
      Write("test.jsonl", "{\"question\":\"5 6 6=36:\",\"answer\":36}\n{\"question\":\"1 1 1=1:\",\"answer\":\"1\"}\n");
  const std::string base =
      "eval --model models/quickstart --threads 1 --kv-cache-mib 16 --temperature 0 --set "
      "model.prompt_template={user} --set task.prompt_style=compact --data " +
      data;
  for (const std::string task : {" --task qa", " --config configs/quickstart.textproto --task qa"}) {
    const Result result = Tactus(base + task);
    ASSERT_EQ(result.code, 0) << result.err;
    const nlohmann::json json = nlohmann::json::parse(result.out);
    EXPECT_EQ(json["prompts"], 2);
    EXPECT_EQ(json["task"], "qa");
  }
  ExpectMistake(base + " --task arithmetic", "--data goes with task qa or countdown: arithmetic reads no questions.");
}

TEST_F(CliTest, VerifyReadsStandardInputAndNamesBadLines) {
  const std::string good = R"({"id":1,"numbers":[3,4,7],"target":16,"response":"<answer>(7-3)*4</answer>"})";
  const Result result = Tactus("verify --task countdown --input -", good + "\n");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("{\"id\":1,\"correct\":true,\"reward\":1.0"));
  const Result bad = Tactus("verify --task countdown --input -", good + "\n{\"id\":2}\n");
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.err, HasSubstr("standard input:2"));
  EXPECT_THAT(Tactus("verify --task qa --input -", R"({"id":1,"answer":18,"response":"\\boxed{\\$18}"})").out,
              StartsWith("{\"id\":1,\"correct\":true"));
  ExpectMistake("verify --task chess --input -",
                "there is no task \"chess\", expected one of arithmetic, countdown, qa");
  ExpectMistake("verify --input -", "--task NAME is missing");
  ExpectMistake("verify --task qa --config x --input -", "expected either");
  ExpectMistake("verify --task countdown --input " + Path("nothing"), "nothing");
  ExpectMistake("verify --task countdown --input - --output /nonexistent/x", "/nonexistent/x");
}

TEST_F(CliTest, AMixturesAnswersAreJudgedByTheirSource) {
  const std::string config = Write("mixed.textproto", R"(model { path: "models/quickstart" prompt_template: "{user}" }
service { plaintext: true }
rollout { max_completion_tokens: 16 }
task {
  name: "countdown" prompt_style: "compact" format_reward: 0
  sources { name: "puzzles" }
  sources { name: "sums" task: "arithmetic" format_reward: 0.5 }
})");
  const std::string verify = "verify --input - --config " + config;
  const std::string puzzle = R"({"id":1,"numbers":[1,2],"target":3,"response":"<answer>1+2</answer>"})";
  const std::string sum = R"({"id":1,"answer":"3","response":"<answer>4</answer>"})";
  EXPECT_THAT(Tactus(verify + " --source puzzles", puzzle).out, StartsWith("{\"id\":1,\"correct\":true"));
  EXPECT_THAT(Tactus(verify + " --source sums", sum).out, StartsWith("{\"id\":1,\"correct\":false,\"reward\":0.5"));
  ExpectMistake(verify, "--source is missing: expected one of the configuration's task.sources, puzzles, sums", sum);
  ExpectMistake(verify + " --source x", "--source is \"x\": expected one of the configuration's", sum);
  ExpectMistake("verify --input - --config configs/quickstart.textproto --source x", "has no task.sources", sum);
  ExpectMistake("verify --input - --task qa --source x", "--source goes with --config", sum);
  const Result eval =
      Tactus("eval --model models/quickstart --threads 1 --kv-cache-mib 16 --prompts 5 --config " + config);
  ASSERT_EQ(eval.code, 0) << eval.err;
  const auto json = nlohmann::json::parse(eval.out);
  EXPECT_EQ(json["sources"]["puzzles"]["prompts"], 3) << "in turn";
  EXPECT_EQ(json["sources"]["sums"]["prompts"], 2);
  double right = 0;
  for (const auto& source : json["sources"]) {
    right += source["pass@1"]["value"].get<double>() * source["prompts"].get<double>();
  }
  EXPECT_DOUBLE_EQ(json["pass@1"]["value"].get<double>() * 5, right);
  ExpectMistake("eval --model models/quickstart --data x --config " + config,
                "task.train_path is given beside task.sources");
}

// A reward server may be started after the configuration is checked, so its absence is told and is no mistake.
TEST_F(CliTest, CheckConfigSaysThatTheEnvironmentIsAway) {
  const Result away = Tactus(
      "check-config configs/quickstart.textproto --set task.rewards=ENVIRONMENT --set environment.address=127.0.0.1:1");
  EXPECT_EQ(away.code, 0) << away.err;
  EXPECT_THAT(away.err, HasSubstr("warning: environment.address: environment 127.0.0.1:1 cannot be reached"));
  EXPECT_THAT(away.out, HasSubstr("rewards: ENVIRONMENT"));
  const Result prompts = Tactus(
      "check-config configs/quickstart.textproto --set task.name=environment --set environment.address=127.0.0.1:1");
  EXPECT_EQ(prompts.code, 0) << prompts.err;
  EXPECT_THAT(prompts.err, HasSubstr("its prompts were not checked"));
}

TEST_F(CliTest, LossComputesAndRefuses) {
  const Result result =
      Tactus("loss --input -", R"({"id":"a","estimator":"rloo","loss":"clip","agg":"token_mean",)"
                               R"("eps_low":0.2,"eps_high":0.2,"tis_cap":null,"kl_beta":0,"sign":"none",)"
                               R"("rewards":[1,0],"group_ids":["g","g"],"mask":[[1],[1]],)"
                               R"("logp_new":[[-1],[-1]],"logp_old":[[-1],[-1]]})");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"advantages\":[1.0,-1.0]"));
  ExpectMistake("loss --input -", "standard input:1: unknown key \"bogus\"", "{\"id\":\"a\",\"bogus\":1}\n");
}

TEST_F(CliTest, AFullDiskIsOurFailureNotSuccess) {
  const std::string command = absl::StrCat("cd ", SourcePath(), " && '", BuildPath("bin/tactus"),
                                           "' check-config configs/quickstart.textproto >/dev/full 2>/dev/null");
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST_F(CliTest, TokenizeAndSftNameAMissingModel) {
  ExpectMistake("tokenize --model /nonexistent/m --input -", "/nonexistent/m/tokenizer.json");
  ExpectMistake("sft --config configs/quickstart_sft.textproto --set model.path=/nonexistent/m --out " + Path("out"),
                "/nonexistent/m");
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
}

TEST_F(CliTest, ModelCommandsNameWhatIsMissing) {
  ExpectMistake("generate --model m", "expected either --prompt TEXT or --input FILE");
  ExpectMistake("generate --model /nonexistent/m --prompt x", "/nonexistent/m");
  ExpectMistake("score --model tests/goldens/models/llama --input - --path gpu", "--path cannot be \"gpu\"");
  ExpectMistake("score --model tests/goldens/models/llama --input - --path actor --dtype int4",
                "--dtype cannot be \"int4\"");
  ExpectMistake("eval --model m", "expected --task NAME or --config FILE");
  ExpectMistake("eval --model m --task chess", "task.name is \"chess\"");
}

// The weights of a model folder, and others of the same shape.
std::vector<float> Weights(const std::string& path) {
  const ModelFolder folder = OpenModelFolder(path).value();
  std::vector<float> flat(static_cast<size_t>(folder.layout.total_numel));
  EXPECT_TRUE(LoadParameters(folder, flat).ok());
  return flat;
}
void WriteShifted(const std::string& from, const std::string& to, float shift) {
  std::vector<float> flat = Weights(from);
  for (size_t i = 0; i < flat.size(); i += 3) flat[i] += shift * static_cast<float>(i % 7);
  ASSERT_TRUE(WriteModelFolder(to, OpenModelFolder(from).value(), flat, StorageDType::kFloat32).ok());
}

TEST_F(CliTest, AverageWritesTheMeanAndRefusesOtherShapes) {
  const std::string llama = SourcePath("tests/goldens/models/llama");
  WriteShifted(llama, Path("a"), 0.125f);
  WriteShifted(llama, Path("checkpoint/model"), 1.0f / 3);
  const Result result =
      Tactus("average " + Path("a") + " " + Path("checkpoint") + " " + llama + " --out " + Path("mean"));
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, Path("mean") + "\n");
  const std::vector<float> a = Weights(Path("a")), b = Weights(Path("checkpoint/model")), c = Weights(llama),
                           mean = Weights(Path("mean"));
  ASSERT_EQ(mean.size(), a.size());
  for (size_t i = 0; i < mean.size(); ++i) {
    ASSERT_EQ(mean[i], static_cast<float>((double{a[i]} + double{b[i]} + double{c[i]}) / 3)) << i;
  }
  EXPECT_TRUE(std::filesystem::exists(Path("mean/generation_config.json"))) << "a whole model folder";
  ExpectMistake("average " + Path("a") + " --out " + Path("x"), "expected at least two checkpoints or model folders");
  ExpectMistake("average " + Path("a") + " " + Path("a") + " --out " + Path("mean"), "exists already");
  ExpectMistake("average " + Path("a") + " models/quickstart --out " + Path("x"),
                "models/quickstart: tensor model.embed_tokens.weight has shape [464, 128], expected [160, 64], as in");
  ExpectMistake("average " + Path("a") + " /nonexistent/m --out " + Path("x"), "/nonexistent/m");
  EXPECT_FALSE(std::filesystem::exists(Path("x")));
}

TEST_F(CliTest, GenerateWritesTheAnswersOfAPromptToAFile) {
  const std::string base =
      "generate --model models/quickstart --threads 1 --kv-cache-mib 16 --max-tokens 4 --prompt '5 6 6=36:'";
  const Result printed = Tactus(base), written = Tactus(base + " --samples 2 --output " + Path("out.jsonl"));
  EXPECT_EQ(printed.code, 0) << printed.err;
  EXPECT_EQ(written.code, 0) << written.err;
  EXPECT_EQ(written.out, "");
  std::ifstream lines(Path("out.jsonl"));
  std::string first, second, third;
  ASSERT_TRUE(std::getline(lines, first) && std::getline(lines, second));
  EXPECT_FALSE(std::getline(lines, third));
  EXPECT_EQ(nlohmann::json::parse(first)["text"].get<std::string>() + "\n", printed.out);
  ExpectMistake(base + " --output /nonexistent/x", "/nonexistent/x");
}

TEST_F(CliTest, ScoreAgreesBetweenThePaths) {
  const std::string line = R"({"id":"a","prompt_ids":[1,2,3],"response_ids":[4,5,6]})";
  for (const GoldenModel& model : GoldenModels()) {
    const std::string score = "score --model " + GoldenModelPath(model.name) + " --threads 1 --input - --path ";
    const Result actor = Tactus(score + "actor", line), learner = Tactus(score + "learner", line);
    EXPECT_EQ(actor.code, 0) << actor.err;
    EXPECT_THAT(actor.out, StartsWith("{\"id\":\"a\",\"logprobs\":["));
    EXPECT_EQ(actor.out, learner.out) << model.name << ", to the last bit";
  }
}

TEST_F(CliTest, RhythmMeasuresDrawsAndRefuses) {
  const std::string lines = R"({"id":"a","prompt_ids":[1,2,3],"response_ids":[4,5,6,7,8,9,10,11,12,13,14,15]})"
                            "\n"
                            R"({"id":7,"prompt_ids":[5],"response_ids":[]})"
                            "\n";
  const std::string base = "rhythm --threads 1 --input - --model ";
  const Result result = Tactus(base + "models/quickstart --html " + Path("page.html"), lines);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("{\"id\":\"a\",\"layers\":[1,2],\"local_heads\":["));
  EXPECT_THAT(result.out, HasSubstr("\"gamma\":{\"LOCAL_CHUNK\":["));
  EXPECT_THAT(result.out, HasSubstr("\n{\"id\":7,"));
  EXPECT_THAT(result.out, HasSubstr("\"waad\":[],\"delta\":[],\"fai\":[]"));
  EXPECT_THAT(ReadAll(Path("page.html")), HasSubstr("Local head: layer "));
  // A line of a run's samples.jsonl, with the rest that stands there.
  const std::string sample =
      R"({"step":3,"version":"0.2","prompt_id":7,"completion":1,"reward":0.05,"prompt":"x","tokens":[],)"
      R"("prompt_ids":[1,2,3],"token_ids":[4,5,6,7,8,9,10,11,12,13,14,15],"versions":[{"start_token":0}]})";
  const std::string same = Tactus(base + "models/quickstart", sample).out;
  ASSERT_THAT(same, StartsWith("{\"id\":\"3/7/1\",\"layers\":"));
  EXPECT_THAT(result.out, StartsWith(absl::StrReplaceAll(same, {{"3/7/1", "a"}})));
  // The batch changes nothing; the paper's first version has a shorter horizon, which 12 tokens do not reach.
  EXPECT_EQ(Tactus(base + "models/quickstart --batch 1 --paper v1", lines).out, result.out);

  ExpectMistake(base + "models/quickstart --paper v3", "--paper cannot be \"v3\": expected v1 or v2", lines);
  ExpectMistake(base + "models/quickstart --paper v1 --config configs/quickstart.textproto",
                "expected --paper or --config, not both", lines);
  ExpectMistake(base + "models/quickstart",
                "standard input:1: ", "{\"id\":1,\"prompt_ids\":[],\"response_ids\":[1]}\n");
  std::string config = ReadAll(SourcePath("configs/quickstart.textproto"));
  config.replace(config.find("strategy: COUPLED"), 17, "strategy: COUPLED layers: 9");
  ExpectMistake(base + "models/quickstart --config " + Write("layers.textproto", config),
                "credit.layers holds 9: expected layers from 0 to", lines);
  ExpectMistake(base + "tests/goldens/models/llama --html " + Path("x.html"), "tokenizer.json", lines);
}

class RhythmStudyTest : public CliTest {
 protected:
  // The tiny model with a tokenizer that knows all of its ids.
  void SetUp() override {
    CliTest::SetUp();
    std::filesystem::copy(SourcePath("tests/goldens/models/llama"), Path("model"));
    std::filesystem::copy_file(SourcePath("models/quickstart-base/tokenizer.json"), Path("model/tokenizer.json"));
    std::string prompts;
    for (int i = 0; i < 12; ++i) {
      prompts += "{\"id\":" + std::to_string(i) + ",\"prompt_ids\":[4," + std::to_string(5 + i) + "]}\n";
    }
    Write("prompts.jsonl", prompts);
  }
  nlohmann::json Study(const std::string& arguments, const std::string& input = "") const {
    const Result result = Tactus("rhythm-study " + arguments + " --threads 1 --model " + Path("model"), input);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("[95 %]"));
    return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  }
  static void ExpectInterval(const nlohmann::json& interval) {
    EXPECT_LE(interval["low"].get<double>(), interval["value"].get<double>());
    EXPECT_GE(interval["high"].get<double>(), interval["value"].get<double>());
  }
};

TEST_F(RhythmStudyTest, CouplingsOfAnswersAndOfTheSameResponsesGiven) {
  const nlohmann::json study = Study("couplings --max-tokens 60 --prompts " + Path("prompts.jsonl"));
  EXPECT_EQ(study["study"], "couplings");
  EXPECT_EQ(study["responses"], 12);
  EXPECT_EQ(study["temperature"], 0.7);
  ASSERT_EQ(study["couplings"].size(), 4u);
  EXPECT_GE(study["receiver_heads_global_share"], 0);
  EXPECT_LE(study["receiver_heads_global_share"], 1);
  for (const auto& [name, one] : study["couplings"].items()) {
    EXPECT_GT(one["picks"], 12) << name;
    for (const char* key : {"observed", "baseline", "lift"}) ExpectInterval(one[key]);
    EXPECT_GT(one["p_value"], 0) << name;
    EXPECT_LE(one["p_value"], 1) << name;
  }
  EXPECT_NEAR(study["couplings"]["entropy_at_waad_peaks"]["paper"]["lift"].get<double>(), 0.5197, 0.01);
  EXPECT_EQ(Study("couplings --max-tokens 60 --batch 2 --prompts " + Path("prompts.jsonl")), study);

  const Result answers = Tactus("generate --threads 1 --temperature 0.7 --max-tokens 60 --model " + Path("model") +
                                " --input " + Path("prompts.jsonl"));
  std::istringstream lines(answers.out);
  std::string given;
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json answer = nlohmann::json::parse(line);
    const nlohmann::json response = {
        {"id", answer["id"]}, {"prompt_ids", {4, 5 + answer["id"].get<int>()}}, {"response_ids", answer["ids"]}};
    given += response.dump() + "\n";
  }
  EXPECT_EQ(Study("couplings --input -", given)["couplings"], study["couplings"]);
  EXPECT_NE(Study("couplings --input - --peak-quantile 0 --lag-tokens 3", given)["couplings"], study["couplings"]);
}

TEST_F(RhythmStudyTest, Perturb) {
  const std::string arguments =
      "perturb --max-tokens 60 --temperature 1 --continue-tokens 16 --prompts " + Path("prompts.jsonl");
  const nlohmann::json study = Study(arguments);
  EXPECT_EQ(study["responses"], 12);
  EXPECT_EQ(study["temperature"], 1);
  const nlohmann::json& result = study["perturbation"];
  EXPECT_GT(result["replaced"], 24);
  EXPECT_EQ(result["no_runner_up"], 0);
  for (const char* low : {"matched", "lowest"}) {
    for (const char* unit : {"words", "tokens"}) {
      const nlohmann::json& pairs = result[low][unit];
      EXPECT_GT(pairs["responses"], 6);
      for (const char* key : {"jaccard_high_fai", "jaccard_low_fai", "high_fai_lower_share"}) {
        ExpectInterval(pairs[key]);
        EXPECT_GE(pairs[key]["low"], 0);
        EXPECT_LE(pairs[key]["high"], 1);
      }
      EXPECT_NEAR(pairs["difference"]["value"].get<double>(),
                  pairs["jaccard_high_fai"]["value"].get<double>() - pairs["jaccard_low_fai"]["value"].get<double>(),
                  1e-12);
    }
  }
  EXPECT_EQ(Study(arguments + " --batch 3"), study);
}

TEST_F(RhythmStudyTest, Mistakes) {
  const std::string model = " --model " + Path("model"), prompts = " --prompts " + Path("prompts.jsonl");
  ExpectMistake("rhythm-study" + model, "expected a study, couplings or perturb, after the flags");
  ExpectMistake("rhythm-study pertub" + model + prompts,
                "there is no study \"pertub\": expected couplings or perturb.");
  ExpectMistake("rhythm-study perturb couplings" + model, "did not expect \"couplings\"");
  ExpectMistake("rhythm-study perturb" + model, "expected either --prompts FILE or --input FILE.");
  ExpectMistake("rhythm-study perturb --input -" + model + prompts, "expected either --prompts FILE or --input FILE.");
  ExpectMistake("rhythm-study perturb --input - --temperature 1" + model, "--temperature does not go with --input");
  ExpectMistake("rhythm-study couplings --peak-quantile 1.5" + model + prompts, "--peak-quantile");
  ExpectMistake("rhythm-study couplings --max-tokens 600" + model + prompts,
                "prompts.jsonl:1: the prompt's 2 tokens and --max-tokens 600 exceed the model's 512 positions");
  ExpectMistake("rhythm-study couplings --input -" + model, "standard input: expected at least one line.");
  ExpectMistake("rhythm-study couplings --input -" + model, "standard input:1: ", "{\"id\":1}\n");
  ExpectMistake("rhythm-study couplings --prompts " + Path("none") + model, Path("none"));
}

TEST_F(CliTest, TrainRefusesBeforeItMakesAnything) {
  ExpectMistake("train --config configs/quickstart.textproto --set model.path=/nonexistent/m --out " + Path("run"),
                "model.path is \"/nonexistent/m\": expected a model folder");
  EXPECT_FALSE(std::filesystem::exists(Path("run")));
  ExpectMistake("train --resume " + Path("run"), "run/config.textproto");
}

TEST_F(CliTest, ReportWritesOnePage) {
  std::filesystem::create_directories(Path("run"));
  ExpectMistake("report " + Path("run"), "metrics.jsonl");
  ExpectMistake("report " + Path("none"), "is not a folder");
  Write("run/metrics.jsonl", "{\"step\":1,\"version\":\"0.1\",\"reward_mean\":0.5}\n{\"step\":2,\"vers");
  const Result result = Tactus("report " + Path("run") + " --html " + Path("page.html"));
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, Path("page.html") + "\n");
  EXPECT_THAT(ReadAll(Path("page.html")), StartsWith("<!doctype html>"));
  Write("run/metrics.jsonl", "{\"step\":1}\nnonsense\n{\"step\":2}\n");
  const Result damaged = Tactus("report " + Path("run"));
  EXPECT_EQ(damaged.code, 0) << damaged.err;
  EXPECT_THAT(damaged.err, HasSubstr("metrics.jsonl: 1 line is damaged and left out, the first is line 2: "));
  EXPECT_THAT(ReadAll(Path("run/report.html")), HasSubstr("<b class=\"\">2</b><span>steps</span>"));
}

}  // namespace
}  // namespace tactus
