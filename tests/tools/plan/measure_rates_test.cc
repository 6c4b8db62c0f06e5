// Rates of a tiny model that is made up on the spot: each is measured, and within reason. No assertion on time.
#include "tools/plan/measure_rates.h"

#include "common/config/run_config.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

TEST(MeasureRatesTest, EveryRateOfAModelWithoutWeights) {
  config::RunConfig run = config::LoadRunConfig(SourcePath("configs/quickstart.textproto"), {}).value();
  run.mutable_model()->set_path(SourcePath("models/quickstart-base"));
  const ModelFolder folder = OpenModelFolder(run.model().path(), WeightsExpected::kOptional).value();
  PlanInputs inputs = InputsOf(run, folder.config);
  inputs.answer_tokens = {24, Known::kConfigured, "the test"};
  AssumeRates(folder.config, DeviceFacts::OfCore(), 1, 1, false, inputs);
  const PlanInputs assumed = inputs;
  const PlanSplit split{.devices = 2, .learners = 1, .actors = 2, .learner_devices = 1, .actor_devices = 1};
  ASSERT_EQ(MeasureRates(run, folder, split, ::testing::TempDir(), inputs), absl::OkStatus());
  for (const auto member : {&PlanInputs::step_s, &PlanInputs::row_s, &PlanInputs::prefill_s, &PlanInputs::train_s,
                            &PlanInputs::optimizer_s, &PlanInputs::link, &PlanInputs::hash, &PlanInputs::copy,
                            &PlanInputs::disk, &PlanInputs::sync_s, &PlanInputs::prompt_tokens}) {
    EXPECT_EQ((inputs.*member).known, Known::kMeasured);
    EXPECT_GE((inputs.*member).value, 0);
  }
  EXPECT_GT(inputs.train_s.value, 0);
  EXPECT_GT(inputs.step_s.value + inputs.row_s.value, 0);
  EXPECT_GT(inputs.prompt_tokens.value, 4) << "\"5 6 6=36:\"";
  EXPECT_LT(inputs.prompt_tokens.value, 20);
  EXPECT_THAT(inputs.row_s.from, ::testing::HasSubstr("2 at once"));
  EXPECT_EQ(inputs.answer_tokens.value, assumed.answer_tokens.value) << "nobody has sampled an answer";
}

}  // namespace
}  // namespace tactus
