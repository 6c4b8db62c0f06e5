// The arithmetic of a plan against cases worked by hand and a simulated engine, and what is printed.
#include "tools/plan/plan.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <queue>
#include <random>

#include "common/base/file.h"
#include "common/config/run_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kGiB = int64_t{1} << 30;

Given Of(double value, Known known = Known::kConfigured) { return {value, known, "the test"}; }

// 4 prompts of 10 tokens, 2 answers each of 20; 1000 float32 parameters.
PlanInputs Inputs() {
  return {.prompts = Of(4),
          .completions = Of(2),
          .staleness = Of(0),
          .updates = Of(1),
          .prompt_tokens = Of(10),
          .answer_tokens = Of(20),
          .longest_tokens = Of(20),
          .trained_share = Of(1),
          .places = Of(0),
          .continuations = Of(0),
          .slots = Of(4),
          .micro_batch_tokens = Of(1000),
          .checkpoint_steps = Of(10),
          .streams = Of(0),
          .parameters = Of(1000),
          .element_bytes = Of(4),
          .step_s = Of(0.01),
          .row_s = Of(0.001),
          .prefill_s = Of(0.0005),
          .train_s = Of(0.002),
          .optimizer_s = Of(0.1),
          .link = Of(1e5),
          .hash = Of(1e6),
          .copy = Of(1e6),
          .disk = Of(1e5),
          .sync_s = Of(0.001),
          .delta_share = Of(0)};
}

PlanSplit TwoAndTwo(Shard shard = Shard::kNone) { return {.devices = 4, .learners = 2, .actors = 2, .shard = shard}; }

TEST(PlanFiguresTest, AStepByHand) {
  const PlanFigures f = PredictStep(Inputs(), TwoAndTwo());
  // An actor has 2 groups, 4 answers at once: 20 engine steps, 80 rows, 20 tokens of prompts.
  EXPECT_NEAR(f.sampling_s, 20 * 0.01 + 80 * 0.001 + 20 * 0.0005, 1e-12);
  // 4000 bytes hashed twice, and sent to two actors.
  EXPECT_NEAR(f.weights_s, 2 * 4000 / 1e6 + 8000 / 1e5, 1e-12);
  // 8 answers of 20 tokens and 4 prompts of 10, half of them a rank's.
  EXPECT_NEAR(f.training_s, 100 * 0.002, 1e-12);
  EXPECT_EQ(f.rank_bytes, 8 * 1000 / 2) << "4 bytes of sums out and 4 back, but for a rank's own half";
  EXPECT_EQ(f.exchange_bytes, 2 * f.rank_bytes);
  EXPECT_NEAR(f.exchange_s, 4000 / 1e5, 1e-12);
  EXPECT_NEAR(f.optimizer_s, 0.1, 1e-12) << "each rank has all of it";
  EXPECT_EQ(f.weight_bytes, 8000);
  EXPECT_TRUE(std::isnan(f.delta_bytes)) << "float32";
  EXPECT_EQ(f.group_bytes, 2 * 8 * 20 * 15) << "the second rank gets them too";
  EXPECT_EQ(f.checkpoint_bytes, 16 * 1000);
  EXPECT_NEAR(f.checkpoint_blocks_s, 6 * 0.001 + 16000 / 1e6 + 4000 / 1e6, 1e-12)
      << "files synced, the state copied, the ranks compared";
  EXPECT_NEAR(f.checkpoint_write_s, 16000 / 1e5, 1e-12);
  EXPECT_EQ(f.hidden_s, 0);
  // 0.290 + 0.088 + 0.200 + 0.040 + 0.100, publishing 0.004, a tenth of a checkpoint 0.0026.
  EXPECT_NEAR(f.step_s, 0.7246, 1e-12);
  EXPECT_NEAR(f.sampled_per_s, 160 / 0.7246, 1e-9);
  EXPECT_NEAR(f.trained_per_s, 200 / 0.7246, 1e-9);
  EXPECT_NEAR(f.actor_busy, 0.290 / 0.7246, 1e-12);
  EXPECT_NEAR(f.learner_busy, 0.3466 / 0.7246, 1e-12);
}

TEST(PlanFiguresTest, ContinuationsForCredit) {
  PlanInputs inputs = Inputs();
  inputs.places = Of(3);
  inputs.continuations = Of(2);
  inputs.longest_tokens = Of(1e9);
  const double without = [&] {
    PlanInputs other = inputs;
    other.continuations = Of(0);
    return PredictStep(other, TwoAndTwo()).sampling_s;
  }();
  // An actor's 2 groups: 2 prompts and 2 places in each of 4 answers, gone on from twice. 20 tokens after a prompt, 10
  // after a place in the mean, and as many before it.
  constexpr double kSequences = 2 * (2 + 8), kTokens = 2 * (2 * 20 + 8 * 10);
  const double steps = EngineSteps(kSequences, 4, kTokens / kSequences, 1e9);
  EXPECT_NEAR(PredictStep(inputs, TwoAndTwo()).sampling_s - without,
              steps * 0.01 + kTokens * 0.001 + (10 * 10 + 8 * 10) * 0.0005, 1e-12);
}

TEST(PlanFiguresTest, TrafficByWhatIsDivided) {
  PlanInputs inputs = Inputs();
  inputs.element_bytes = Of(2);
  inputs.delta_share = Of(0.01);
  inputs.micro_batch_tokens = Of(40);  // 100 tokens a rank are three passes
  const auto rank_bytes = [&](Shard shard) { return PredictStep(inputs, TwoAndTwo(shard)).rank_bytes; };
  EXPECT_EQ(rank_bytes(Shard::kNone), 8 * 1000 / 2);
  EXPECT_EQ(rank_bytes(Shard::kOptimizer), (4 + 2) * 1000 / 2);
  EXPECT_EQ(rank_bytes(Shard::kGradients), (4 * 3 + 2) * 1000 / 2);
  // A gather of 2 bytes forward and one backward in each pass; and a rank's 1000 bytes to rank 0 for publishing.
  const PlanFigures divided = PredictStep(inputs, TwoAndTwo(Shard::kParameters));
  EXPECT_EQ(divided.rank_bytes, (4 * 3 + 4 * 3) * 1000 / 2 + 1000);
  EXPECT_EQ(divided.exchange_bytes, 2 * 12000 + 1000);
  EXPECT_NEAR(divided.optimizer_s, 0.05, 1e-12);
  EXPECT_NEAR(divided.checkpoint_blocks_s, 0.006 + (6000 + 2000) / 1e6, 1e-12) << "a share, and no replicas to compare";
  EXPECT_NEAR(divided.delta_bytes, 2 * 2000 * 0.01, 1e-9);
  const PlanFigures alone = PredictStep(inputs, {.devices = 2, .learners = 1, .actors = 1});
  EXPECT_EQ(alone.rank_bytes, 0);
  EXPECT_EQ(alone.exchange_bytes, 0);
  inputs.updates = Of(2);
  EXPECT_EQ(rank_bytes(Shard::kGradients), 2 * (4 * 2 + 2) * 1000 / 2) << "50 tokens an update are two passes";
}

TEST(PlanFiguresTest, AheadOfTheLearnerTheSlowerSideSetsThePace) {
  PlanInputs inputs = Inputs();
  inputs.staleness = Of(1);
  EXPECT_NEAR(PredictStep(inputs, TwoAndTwo()).step_s, 0.3466, 1e-12) << "training and what follows";
  inputs.train_s = Of(0.0001);
  EXPECT_NEAR(PredictStep(inputs, TwoAndTwo()).step_s, 0.290, 1e-12) << "sampling";
  // On devices that do both, the work of both: twice 0.290, and twice 0.010 + 0.1466.
  PlanSplit shared = TwoAndTwo();
  shared.devices = 2;
  EXPECT_NEAR(PredictStep(inputs, shared).step_s, 0.290 + 0.1566, 1e-12);
}

TEST(PlanFiguresTest, WhatIsTrainedBesideSampling) {
  PlanInputs inputs = Inputs();
  inputs.streams = Of(1);
  inputs.slots = Of(1);  // 8 answers, 2 at once: three quarters are sampled in later waves
  const PlanFigures f = PredictStep(inputs, TwoAndTwo());
  EXPECT_NEAR(f.hidden_s, 0.75 * 0.2, 1e-12);
  PlanSplit crowded = TwoAndTwo();
  for (const int devices : {2, 3}) {  // all or one of them are an actor's too, and the other rank waits for that one
    crowded.devices = devices;
    EXPECT_EQ(PredictStep(inputs, crowded).hidden_s, 0) << devices;
  }
  inputs.staleness = Of(1);
  EXPECT_EQ(PredictStep(inputs, TwoAndTwo()).hidden_s, 0);
}

TEST(PlanFiguresTest, TooFewCoresSlowBothDown) {
  PlanSplit crowded{.devices = 2, .learners = 2, .actors = 4, .learner_devices = 2, .actor_devices = 1};
  const PlanFigures f = PredictStep(Inputs(), crowded);
  EXPECT_NEAR(f.training_s, 2 * 0.2, 1e-12);
  EXPECT_NEAR(f.sampling_s, 2 * (20 * 0.01 + 40 * 0.001 + 10 * 0.0005), 1e-12);
}

// The mean steps of an engine that is simulated, over many draws.
double Simulated(int sequences, int slots, double mean, double longest) {
  std::mt19937_64 random(7);
  std::exponential_distribution<double> length(1 / mean);
  double sum = 0;
  constexpr int kRounds = 2000;
  for (int round = 0; round < kRounds; ++round) {
    std::priority_queue<double, std::vector<double>, std::greater<>> ends;
    for (int i = 0; i < sequences; ++i) {
      double start = 0;
      if (static_cast<int>(ends.size()) == slots) start = ends.top(), ends.pop();
      ends.push(start + std::min(longest, length(random)));
    }
    double last = 0;
    while (!ends.empty()) last = std::max(last, ends.top()), ends.pop();
    sum += last;
  }
  return sum / kRounds;
}

TEST(PlanFiguresTest, EngineStepsAreThoseOfASimulatedEngine) {
  for (const auto& [sequences, slots] : {std::pair(64, 64), {64, 16}, {128, 32}, {256, 64}, {8, 8}}) {
    const double expected = Simulated(sequences, slots, 50, 1e9);
    EXPECT_NEAR(EngineSteps(sequences, slots, 50, 1e9), expected, 0.03 * expected) << sequences << " in " << slots;
  }
  // A cut that every wave reaches.
  EXPECT_EQ(EngineSteps(64, 64, 50, 120), 120);
  EXPECT_EQ(EngineSteps(64, 16, 50, 50), 4 * 50) << "lengths that are all the same";
  EXPECT_EQ(EngineSteps(1, 64, 50, 50), 50);
}

// One layer, H 64, I 128, 4 heads of 16 over 2, V 100.
ModelConfig TinyModel() {
  ModelConfig model;
  model.vocab_size = 100;
  model.hidden_size = 64;
  model.intermediate_size = 128;
  model.num_layers = 1;
  model.num_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 16;
  model.max_position = 512;
  return model;
}

TEST(PlanInputsTest, AssumedRatesAreARoofline) {
  const ModelConfig model = TinyModel();
  // qkv 64 x 128, out 64 x 64, MLP 3 x 64 x 128, head 64 x 100.
  constexpr double kMatrices = 64 * 128 + 64 * 64 + 3 * 64 * 128 + 64 * 100;
  EXPECT_EQ(MatrixNumbers(model), kMatrices);
  PlanInputs inputs = Inputs();
  inputs.element_bytes = Of(2);
  DeviceFacts facts = DeviceFacts::OfGpu();
  facts.flops = Of(1e9);
  facts.flops_share = Of(0.5);
  facts.memory = Of(1e6);
  facts.memory_share = Of(0.25);
  AssumeRates(model, facts, /*actor_devices=*/1, /*learner_devices=*/2, /*recompute=*/false, inputs);
  EXPECT_NEAR(inputs.step_s.value, kMatrices * 2 / 0.25e6, 1e-12);
  // In the mean a row reads the keys and values of 20 tokens: 2 x 32 numbers of 2 bytes each.
  EXPECT_NEAR(inputs.row_s.value, (2 * kMatrices + 4 * 64 * 20) / 0.5e9 + 128.0 * 20 / 0.25e6, 1e-12);
  EXPECT_NEAR(inputs.prefill_s.value, (2 * kMatrices + 2 * 64 * 10) / 0.5e9, 1e-15);
  EXPECT_NEAR(inputs.train_s.value, 3 * (2 * kMatrices + 2 * 64 * 30) / 1e9, 1e-15);
  EXPECT_NEAR(inputs.optimizer_s.value, 1000 * 30 / 0.5e6, 1e-12);
  EXPECT_EQ(inputs.train_s.known, Known::kConfigured) << "as certain as what it is made of";
  const double without = inputs.train_s.value;
  AssumeRates(model, DeviceFacts::OfGpu(), 1, 2, false, inputs);
  EXPECT_EQ(inputs.train_s.known, Known::kAssumed);
  AssumeRates(model, facts, 1, 2, /*recompute=*/true, inputs);
  EXPECT_NEAR(inputs.train_s.value, without * 4 / 3, 1e-15);
}

TEST(PlanInputsTest, EachFigureKnowsTheLeastCertainOfWhatItRestsOn) {
  PlanInputs inputs = Inputs();
  inputs.train_s.known = Known::kMeasured;
  inputs.answer_tokens.known = Known::kAssumed;
  for (const PlanFigureField& field : PlanFigureFields()) {
    const RestsOn rests = RestsOnOf(field, inputs, TwoAndTwo());
    const std::string key = field.key;
    if (key == "checkpoint_bytes" || key == "rank_bytes" || key == "weight_bytes") {
      EXPECT_EQ(rests.known, Known::kConfigured) << key;
      EXPECT_TRUE(rests.inputs.empty()) << key;
    }
    if (key == "training_s" || key == "step_s") {
      EXPECT_EQ(rests.known, Known::kAssumed) << key;
      ASSERT_EQ(rests.inputs.size(), 2u) << key;
      EXPECT_STREQ(rests.inputs[0]->key, "answer_tokens");
      EXPECT_STREQ(rests.inputs[1]->key, "train_s");
    }
  }
}

// A figure that moves with an input must say that it rests on it.
TEST(PlanInputsTest, FiguresRestOnWhatMovesThem) {
  PlanInputs inputs = Inputs();
  inputs.streams = Of(1);
  inputs.slots = Of(1);
  inputs.longest_tokens = Of(1000);
  inputs.element_bytes = Of(2);
  inputs.delta_share = Of(0.01);
  inputs.micro_batch_tokens = Of(50);
  inputs.places = inputs.continuations = Of(4);
  const PlanSplit split = TwoAndTwo(Shard::kGradients);
  const PlanFigures before = PredictStep(inputs, split);
  for (const PlanInputField& input : PlanInputFields()) {
    PlanInputs moved = inputs;
    (moved.*input.member).value *= 1.75;
    (moved.*input.member).known = Known::kAssumed;
    const PlanFigures after = PredictStep(moved, split);
    for (const PlanFigureField& figure : PlanFigureFields()) {
      if (before.*figure.member == after.*figure.member) continue;
      const RestsOn rests = RestsOnOf(figure, moved, split);
      EXPECT_EQ(rests.inputs.size(), 1u) << figure.key << " moves with " << input.key;
    }
  }
}

// ---- Splits

std::string ShapeFile(const std::string& model) {
  return SourcePath("tests/goldens/model_configs/") + model + "/config.json";
}

ModelConfig Model(const std::string& name) {
  return ParseModelConfig(ReadFile(ShapeFile(name)).value(), "", name).value();
}

struct Planned {
  config::RunConfig run;
  ModelConfig model;
  PlanRequest request;
};

std::unique_ptr<Planned> Request(const std::string& config, const std::string& model, int gpus,
                                 const std::vector<std::string>& overrides = {}) {
  auto planned = std::make_unique<Planned>();
  planned->run = config::LoadRunConfig(SourcePath("configs/") + config, overrides).value();
  planned->model = Model(model);
  planned->request = {.run = &planned->run,
                      .model_file = ShapeFile(model),
                      .machine = {.gpus = true, .devices = gpus, .gpu_bytes = 79 * kGiB},
                      .inputs = InputsOf(planned->run, planned->model),
                      .learners = {},
                      .actors = {}};
  AssumeRates(planned->model, DeviceFacts::OfGpu(), 1, 1, planned->run.learner().activation_checkpointing(),
              planned->request.inputs);
  return planned;
}

TEST(PlanTest, TheBestSplitIsTheFastestThatFits) {
  const auto planned = Request("qwen3_4b_countdown.textproto", "qwen3-4b-base", 8);
  const Plan plan = MakePlan(planned->request, planned->model).value();
  ASSERT_EQ(plan.splits.size(), 8u) << "1 to 7 ranks with the rest as actors, and all GPUs with one of both";
  EXPECT_TRUE(plan.best().fits);
  EXPECT_EQ(plan.memory.Check(), absl::OkStatus());
  for (const PlannedSplit& other : plan.splits) {
    if (other.fits) {
      EXPECT_LE(plan.best().figures.step_s, other.figures.step_s);
    }
    const bool shared = other.split.learners == 8;
    EXPECT_EQ(other.split.learners + other.split.actors, shared ? 16 : 8);
    EXPECT_TRUE(!shared || !other.fits) << "72 and 54 GiB";
  }
}

TEST(PlanTest, AGivenSplitIsTheOnlyOne) {
  auto planned = Request("qwen3_4b_countdown.textproto", "qwen3-4b-base", 8);
  planned->request.learners = 4;
  planned->request.actors = 4;
  Plan plan = MakePlan(planned->request, planned->model).value();
  EXPECT_EQ(plan.splits.size(), 1u);
  planned->request.actors = std::nullopt;
  plan = MakePlan(planned->request, planned->model).value();
  EXPECT_EQ(plan.splits.size(), 1u);
  EXPECT_EQ(plan.best().split.actors, 4);
  planned->request.learners = 9;
  EXPECT_THAT(std::string(MakePlan(planned->request, planned->model).status().message()),
              HasSubstr("--learners and --actors do not fit 8 GPUs"));
}

TEST(PlanTest, WhatNoSplitHoldsSaysSo) {
  const auto planned = Request("qwen3_4b_countdown.textproto", "qwen3-32b", 4);
  const Plan plan = MakePlan(planned->request, planned->model).value();
  EXPECT_FALSE(plan.best().fits);
  EXPECT_THAT(std::string(plan.memory.Check().message()), HasSubstr("learner-0 needs "));
}

TEST(PlanTest, CoresAreSharedOrDivided) {
  auto planned = Request("quickstart.textproto", "smollm2-135m", 1, {"learner.threads=0", "actor.threads=1"});
  planned->request.machine = {.gpus = false, .devices = 2, .gpu_bytes = 0};
  const Plan plan = MakePlan(planned->request, planned->model).value();
  for (const PlannedSplit& one : plan.splits) {
    EXPECT_EQ(one.split.learner_devices, 2 / one.split.learners);
    EXPECT_LE(one.split.actors, 2);
  }
  EXPECT_EQ(plan.splits.size(), 4u) << "1 or 2 of each";
  EXPECT_EQ(LearnerCores(planned->run, 8, 3), 2);
  planned->run.mutable_learner()->set_threads(3);
  EXPECT_EQ(LearnerCores(planned->run, 8, 3), 3);
}

// ---- What is printed. The goldens are of `tactus plan` itself (tests/goldens/plan/README.md): they hold its format,
// the tests above its numbers.

TEST(PlanTextTest, IsTheGolden) {
  const auto planned = Request("qwen3_0.6b_1x24gb.textproto", "qwen3-0.6b", 2);
  Plan plan = MakePlan(planned->request, planned->model).value();
  plan.memory.model.erase(0, SourcePath("").size());
  EXPECT_EQ(PlanText(plan), ReadFile(SourcePath("tests/goldens/plan/qwen3-0.6b.txt")).value());
  EXPECT_EQ(PlanJson(plan), ReadFile(SourcePath("tests/goldens/plan/qwen3-0.6b.json")).value());
}

TEST(PlanTextTest, JsonHasEveryNumberWithHowItIsKnown) {
  const auto planned = Request("quickstart.textproto", "smollm2-135m", 1);
  const auto json = nlohmann::json::parse(PlanJson(MakePlan(planned->request, planned->model).value()));
  EXPECT_EQ(json["predicted"].size(), PlanFigureFields().size());
  EXPECT_EQ(json["rests_on"].size(), PlanInputFields().size());
  for (const auto& number : json["predicted"]) {
    EXPECT_TRUE(number["value"].is_number() || number["key"] == "delta_bytes") << number;
    EXPECT_THAT(number["known"].get<std::string>(), ::testing::AnyOf("configured", "measured", "assumed"));
  }
  for (const auto& input : json["rests_on"]) EXPECT_FALSE(input["from"].get<std::string>().empty()) << input;
}

}  // namespace
}  // namespace tactus
