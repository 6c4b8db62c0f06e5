#include "learner/head_calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/config/run_config.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

// Of a model with one sampled layer of 4 heads.
absl::StatusOr<HeadCalibration> Calibration(std::vector<std::string> overrides) {
  overrides.push_back("credit.head_share=0.25");
  const auto run = config::ParseRunConfig(
      "model { path: 'm' } task { name: 'countdown' } service { plaintext: true } credit { strategy: COUPLED layers: 1 "
      "}",
      "test", overrides);
  EXPECT_TRUE(run.ok()) << run.status();
  return HeadCalibration::FromProto(run->credit(), 2, 4);
}

TrajectoryGroup Group(const std::vector<std::pair<int, std::vector<float>>>& completions) {
  TrajectoryGroup group;
  for (const auto& [tokens, spans] : completions) {
    Completion& completion = group.completions.emplace_back();
    completion.token_ids.assign(static_cast<size_t>(tokens), 7);
    completion.head_spans = spans;
  }
  return group;
}

TEST(HeadCalibrationTest, WeighsACompletionByItsTokens) {
  HeadCalibration calibration = *Calibration({"credit.head_mode=CALIBRATED"});
  EXPECT_EQ(calibration.heads(), 4);
  EXPECT_EQ(calibration.classes(), std::nullopt);
  // Sums over rows: 9 * {1, 4, 3, 2} + {8, 0, 8, 8} + 2 * {4, 1, 0, 12} = {25, 38, 35, 50} of 12 rows. Plain means over
  // completions would make head 1 the local one, and the first completion alone head 1 the global one.
  calibration.AfterStep(1, {Group({{9, {1, 4, 3, 2}}}), Group({{1, {8, 0, 8, 8}}, {2, {4, 1, 0, 12}}})});
  EXPECT_EQ(calibration.classes(), (HeadClasses{.local = {0}, .global = {3}}));
}

TEST(HeadCalibrationTest, ClassifiesAfterTheFirstStepAndEveryFewth) {
  HeadCalibration calibration = *Calibration({"credit.head_mode=CALIBRATED", "credit.calibrate_every_versions=3"});
  // Step s: head s % 4 looks the least far.
  std::vector<int32_t> local;
  for (int64_t step = 1; step <= 7; ++step) {
    std::vector<float> spans = {5, 6, 7, 8};
    spans[static_cast<size_t>(step % 4)] = 0.5F;
    calibration.AfterStep(step, {Group({{3, spans}})});
    local.push_back(calibration.classes()->local.at(0));
  }
  EXPECT_EQ(local, (std::vector<int32_t>{1, 1, 3, 3, 3, 2, 2}));
}

TEST(HeadCalibrationTest, MayKeepThoseOfVersionZero) {
  HeadCalibration calibration = *Calibration({"credit.head_mode=CALIBRATED", "credit.calibrate_every_versions=0"});
  calibration.AfterStep(1, {Group({{3, {4, 3, 2, 1}}})});
  const HeadClasses first{.local = {3}, .global = {0}};
  EXPECT_EQ(calibration.classes(), first);
  for (int64_t step = 2; step <= 100; ++step) calibration.AfterStep(step, {Group({{3, {1, 2, 3, 4}}})});
  EXPECT_EQ(calibration.classes(), first);
}

TEST(HeadCalibrationTest, GoesOnFromACheckpoint) {
  HeadCalibration calibration = *Calibration({"credit.head_mode=CALIBRATED", "credit.calibrate_every_versions=3"});
  const HeadClasses saved{.local = {3}, .global = {0}};
  calibration.Restore(saved);
  calibration.AfterStep(2, {Group({{3, {1, 2, 3, 4}}})});
  EXPECT_EQ(calibration.classes(), saved);
  calibration.AfterStep(3, {Group({{3, {1, 2, 3, 4}}})});
  EXPECT_EQ(calibration.classes(), (HeadClasses{.local = {0}, .global = {3}}));
}

TEST(HeadCalibrationTest, DoesNothingUnlessItIsAskedTo) {
  HeadCalibration calibration = *Calibration({});
  EXPECT_EQ(calibration.heads(), 0);
  calibration.AfterStep(1, {Group({{3, {}}})});
  EXPECT_EQ(calibration.classes(), std::nullopt);
  EXPECT_THAT(std::string(Calibration({"credit.head_mode=CALIBRATED", "credit.layers=2"}).status().message()),
              HasSubstr("credit.layers holds 2"));
}

}  // namespace
}  // namespace tactus
