#include "learner/train/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "common/base/file.h"
#include "learner/train/lr_schedule.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using Json = nlohmann::json;

// Parameters one after the other at multiples of 16, as MakeParameterLayout packs them.
ParameterLayout Layout(const std::vector<std::pair<std::string, std::vector<int64_t>>>& shapes) {
  ParameterLayout layout;
  for (const auto& [name, shape] : shapes) {
    ParameterSpec spec{name, shape, layout.total_numel, 1};
    for (int64_t size : shape) spec.numel *= size;
    layout.total_numel += (spec.numel + 15) / 16 * 16;
    layout.specs.push_back(spec);
  }
  return layout;
}

std::vector<FlatRange> All(const ParameterLayout& layout) { return {{0, layout.total_numel}}; }

double Norm(std::span<const float> values) {
  const FlatRange all{0, static_cast<int64_t>(values.size())};
  return *GlobalNorm(values, std::span(&all, 1), **CreateCollective({}));
}

AdamWResult Step(AdamW& optimizer, const AdamWOptions& options, const AdamWStep& step, std::span<float> parameters,
                 const std::vector<float>& gradients) {
  return optimizer.Step(options, step, step.gradient_scale * Norm(gradients), parameters, gradients);
}

std::vector<float> Random(size_t size, int seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(AdamWTest, EqualsTorch) {
  const auto text = ReadFile(SourcePath("tests/goldens/train/adamw.json"));
  ASSERT_TRUE(text.ok());
  const Json golden = Json::parse(*text);
  const Json& o = golden["options"];
  const ParameterLayout layout = Layout({{"matrix", golden["shapes"]["matrix"].get<std::vector<int64_t>>()},
                                         {"vector", golden["shapes"]["vector"].get<std::vector<int64_t>>()}});
  const AdamWOptions options{o["beta1"], o["beta2"], o["eps"], o["weight_decay"], o["max_grad_norm"]};
  AdamW optimizer(layout, All(layout));
  const auto flat = [&](const Json& values) {
    std::vector<float> result(static_cast<size_t>(layout.total_numel), 0.0f);
    for (const ParameterSpec& spec : layout.specs) {
      const auto part = values[spec.name].get<std::vector<float>>();
      std::copy(part.begin(), part.end(), result.begin() + spec.offset);
    }
    return result;
  };
  std::vector<float> parameters = flat(golden["start"]);
  bool clipped = false, unclipped = false;
  int64_t t = 0;
  for (const Json& step : golden["steps"]) {
    const AdamWResult result = Step(optimizer, options, {.t = ++t, .lr = o["lr"]}, parameters, flat(step["gradients"]));
    EXPECT_NEAR(result.grad_norm, step["norm"].get<double>(), 1e-6 * result.grad_norm);
    clipped = clipped || result.grad_norm > o["max_grad_norm"];
    unclipped = unclipped || result.grad_norm < o["max_grad_norm"];
    const std::vector<float> expected = flat(step["after"]);
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(parameters[i], expected[i], 5e-7) << i;
  }
  EXPECT_TRUE(clipped && unclipped);
}

TEST(AdamWTest, EqualsAFloat64Loop) {
  // Larger than a block, and no multiple of any vector width.
  const ParameterLayout layout = Layout({{"a", {251, 157}}, {"b", {37}}, {"c", {1, 1}}});
  const size_t size = static_cast<size_t>(layout.total_numel);
  const AdamWOptions options{0.8, 0.99, 1e-6, 0.05, 0.5};
  AdamW optimizer(layout, All(layout));
  std::vector<float> parameters = Random(size, 1);
  for (int64_t i = 37; i < 48; ++i) parameters[static_cast<size_t>(layout.specs[1].offset + i)] = 0;
  std::vector<double> p(parameters.begin(), parameters.end()), m(size), v(size);
  for (int t = 1; t <= 5; ++t) {
    std::vector<float> gradients(size, 0.0f);
    const std::vector<float> random = Random(size, 10 + t);
    double squares = 0;
    for (const ParameterSpec& spec : layout.specs) {
      for (int64_t i = spec.offset; i < spec.offset + spec.numel; ++i) {
        gradients[static_cast<size_t>(i)] = random[static_cast<size_t>(i)];
        squares += double{gradients[static_cast<size_t>(i)]} * gradients[static_cast<size_t>(i)];
      }
    }
    const double scale = t % 2 == 0 ? 1.0 / 700 : 1;  // what it scales is longer than the bound, or not
    const double lr = 0.01 * t, norm = scale * std::sqrt(squares);
    const AdamWResult result =
        Step(optimizer, options, {.t = t, .lr = lr, .gradient_scale = scale}, parameters, gradients);
    EXPECT_NEAR(result.grad_norm, norm, 1e-12 * norm);
    for (const ParameterSpec& spec : layout.specs) {
      const double decay = spec.shape.size() == 1 ? 0 : options.weight_decay;
      for (size_t i = static_cast<size_t>(spec.offset); i < static_cast<size_t>(spec.offset + spec.numel); ++i) {
        const double g = gradients[i] * scale * std::min(1.0, options.max_grad_norm / (norm + 1e-6));
        m[i] = options.beta1 * m[i] + (1 - options.beta1) * g;
        v[i] = options.beta2 * v[i] + (1 - options.beta2) * g * g;
        const double m_hat = m[i] / (1 - std::pow(options.beta1, t)), v_hat = v[i] / (1 - std::pow(options.beta2, t));
        p[i] = p[i] * (1 - lr * decay) - lr * m_hat / (std::sqrt(v_hat) + options.eps);
        ASSERT_NEAR(parameters[i], p[i], 2e-6) << spec.name << " " << i;
      }
    }
  }
  EXPECT_EQ(parameters[static_cast<size_t>(layout.specs[1].offset) + 40], 0.0f);  // padding stays 0
}

TEST(AdamWTest, ANonFiniteGradientChangesNothing) {
  const ParameterLayout layout = Layout({{"a", {100, 9}}});
  AdamW optimizer(layout, All(layout));
  std::vector<float> parameters = Random(static_cast<size_t>(layout.total_numel), 2);
  const std::vector<float> gradients = Random(parameters.size(), 3);
  ASSERT_FALSE(Step(optimizer, {}, {.t = 1, .lr = 0.1}, parameters, gradients).skipped);
  const std::vector<float> before = parameters, first(optimizer.first_moment().begin(), optimizer.first_moment().end());
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    std::vector<float> spoilt = gradients;
    spoilt[899] = bad;
    EXPECT_TRUE(Step(optimizer, {}, {.t = 2, .lr = 0.1}, parameters, spoilt).skipped);
    EXPECT_EQ(parameters, before);
    EXPECT_TRUE(std::equal(first.begin(), first.end(), optimizer.first_moment().begin()));
  }
  EXPECT_FALSE(Step(optimizer, {}, {.t = 2, .lr = 0.1}, parameters, gradients).skipped);
}

TEST(AdamWTest, LargeFiniteGradientsAreClippedNotSkipped) {
  const ParameterLayout layout = Layout({{"a", {4, 4}}});
  AdamW optimizer(layout, All(layout));
  std::vector<float> parameters(16, 0.0f), gradients(16, 1e38f);
  const AdamWResult result = Step(optimizer, {}, {.t = 1, .lr = 0.1}, parameters, gradients);
  EXPECT_FALSE(result.skipped);
  EXPECT_NEAR(result.grad_norm, 4e38, 1e32);
  for (float value : parameters) EXPECT_NEAR(value, -0.1, 1e-6);
}

TEST(AdamWTest, AGradientBeyondTheLimitChangesNothing) {
  const ParameterLayout layout = Layout({{"a", {4, 4}}});
  AdamW optimizer(layout, All(layout));
  const AdamWOptions options{.skip_grad_norm = 8.5};
  std::vector<float> parameters(16, 1.0f);
  const std::vector<float> before = parameters, at(16, 2.0f), beyond(16, 2.25f);  // norms 8 and 9
  const AdamWResult skipped = Step(optimizer, options, {.t = 1, .lr = 0.1}, parameters, beyond);
  EXPECT_TRUE(skipped.skipped);
  EXPECT_DOUBLE_EQ(skipped.grad_norm, 9);
  EXPECT_EQ(parameters, before);
  for (const float moment : optimizer.first_moment()) EXPECT_EQ(moment, 0);
  EXPECT_FALSE(Step(optimizer, options, {.t = 1, .lr = 0.1}, parameters, at).skipped);
  EXPECT_NE(parameters, before);
}

TEST(AdamWTest, RestoredStateContinuesWithTheSameBits) {
  const ParameterLayout layout = Layout({{"a", {30, 20}}, {"b", {20}}});
  const size_t size = static_cast<size_t>(layout.total_numel);
  AdamW whole(layout, All(layout)), first(layout, All(layout)), second(layout, All(layout));
  std::vector<float> p1 = Random(size, 4), p2 = p1;
  for (int t = 0; t < 6; ++t) Step(whole, {}, {.t = t + 1, .lr = 0.01}, p1, Random(size, 20 + t));
  for (int t = 0; t < 3; ++t) Step(first, {}, {.t = t + 1, .lr = 0.01}, p2, Random(size, 20 + t));
  std::copy(first.first_moment().begin(), first.first_moment().end(), second.first_moment().begin());
  std::copy(first.second_moment().begin(), first.second_moment().end(), second.second_moment().begin());
  for (int t = 3; t < 6; ++t) Step(second, {}, {.t = t + 1, .lr = 0.01}, p2, Random(size, 20 + t));
  EXPECT_EQ(p1, p2);
}

// Ranges that cut parameters anywhere, each stepped on by an optimizer of its own.
TEST(AdamWTest, PartsHaveTheBitsOfTheWhole) {
  const ParameterLayout layout = Layout({{"a", {251, 157}}, {"b", {37}}, {"c", {1, 1}}, {"d", {90, 3}}});
  const size_t size = static_cast<size_t>(layout.total_numel);
  const int64_t end = layout.total_numel;
  AdamW whole(layout, All(layout));
  const std::vector<std::vector<FlatRange>> shares = {{{0, 160}, {39424, 39440}}, {{160, 39424}, {39440, end}}};
  std::vector<AdamW> parts;
  for (const std::vector<FlatRange>& share : shares) parts.emplace_back(layout, share);
  std::vector<float> expected = Random(size, 4), parameters = expected;
  for (int t = 1; t <= 3; ++t) {
    const std::vector<float> gradients = Random(size, 20 + t);
    const AdamWOptions options{.weight_decay = 0.1, .max_grad_norm = 0.5};
    Step(whole, options, {.t = t, .lr = 0.01}, expected, gradients);
    for (AdamW& part : parts) Step(part, options, {.t = t, .lr = 0.01}, parameters, gradients);
    EXPECT_EQ(parameters, expected);
  }
  for (size_t s = 0; s < shares.size(); ++s) {
    const float* moment = parts[s].second_moment().data();
    for (const FlatRange& range : shares[s]) {
      EXPECT_TRUE(std::equal(moment, moment + range.size(), whole.second_moment().data() + range.begin));
      moment += range.size();
    }
  }
}

TEST(GlobalNormTest, EverySizeCounts) {
  for (size_t size : {0u, 1u, 15u, 16u, 17u, 32768u, 32769u, 70001u}) {
    const std::vector<float> values(size, 2.0f);
    EXPECT_DOUBLE_EQ(Norm(values), 2 * std::sqrt(static_cast<double>(size)));
  }
}

TEST(LrScheduleTest, WarmsUpThenHolds) {
  const LrSchedule schedule{1.0, 4, LrSchedule::Shape::kConstant, 0.1, 100};
  EXPECT_DOUBLE_EQ(schedule.At(0), 0.25);
  EXPECT_DOUBLE_EQ(schedule.At(3), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(4), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(1000), 1.0);
}

TEST(LrScheduleTest, CosineFallsToItsFloorAndStays) {
  const LrSchedule schedule{2.0, 10, LrSchedule::Shape::kCosine, 0.25, 110};
  EXPECT_DOUBLE_EQ(schedule.At(10), 2.0);
  EXPECT_DOUBLE_EQ(schedule.At(60), 2.0 * (0.25 + 0.75 / 2));
  EXPECT_DOUBLE_EQ(schedule.At(110), 0.5);
  EXPECT_DOUBLE_EQ(schedule.At(500), 0.5);
  for (int step = 10; step < 110; ++step) EXPECT_GT(schedule.At(step), schedule.At(step + 1));
}

TEST(LrScheduleTest, LinearFallsToItsFloorAndStays) {
  const LrSchedule schedule{2.0, 10, LrSchedule::Shape::kLinear, 0.25, 110};
  EXPECT_DOUBLE_EQ(schedule.At(9), 2.0);
  EXPECT_DOUBLE_EQ(schedule.At(10), 2.0);
  EXPECT_DOUBLE_EQ(schedule.At(60), 1.25);
  EXPECT_DOUBLE_EQ(schedule.At(110), 0.5);
  EXPECT_DOUBLE_EQ(schedule.At(500), 0.5);
}

TEST(LrScheduleTest, WsdHoldsUntilItsDecay) {
  const LrSchedule schedule{2.0, 10, LrSchedule::Shape::kWsd, 0.25, 110, 20};
  EXPECT_DOUBLE_EQ(schedule.At(4), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(10), 2.0);
  EXPECT_DOUBLE_EQ(schedule.At(90), 2.0);
  EXPECT_DOUBLE_EQ(schedule.At(100), 1.25);
  EXPECT_DOUBLE_EQ(schedule.At(110), 0.5);
  EXPECT_DOUBLE_EQ(schedule.At(500), 0.5);
  const LrSchedule all_decay{2.0, 10, LrSchedule::Shape::kWsd, 0.25, 110, 1000};
  EXPECT_DOUBLE_EQ(all_decay.At(10), 2.0) << "the decay begins after the warm-up";
  EXPECT_DOUBLE_EQ(all_decay.At(60), 1.25);
}

TEST(LrScheduleTest, WhateverIsStretchedIsTold) {
  const auto linear = [](int64_t steps) { return LrSchedule{1e-4, 0, LrSchedule::Shape::kLinear, 0.0, steps}; };
  EXPECT_NE(RateJump(linear(100), linear(200), 50).find("goes on with 7.5e-05 after 50 updates, where 5e-05 was"),
            std::string::npos);
  EXPECT_NE(RateJump(linear(100), linear(200), 100), "") << "from 0";
  const auto wsd = [](int64_t steps) { return LrSchedule{1e-4, 0, LrSchedule::Shape::kWsd, 0.1, steps, 20}; };
  EXPECT_NE(RateJump(wsd(100), wsd(200), 100).find("goes on with 0.0001 after 100 updates, where 1e-05 was planned"),
            std::string::npos);
  EXPECT_EQ(RateJump(wsd(100), wsd(200), 70), "") << "it has not begun to fall";
}

TEST(LrScheduleTest, AStretchedCosineIsToldWithBothRates) {
  const auto cosine = [](int64_t steps) { return LrSchedule{8e-5, 0, LrSchedule::Shape::kCosine, 0.125, steps}; };
  const std::string jump = RateJump(cosine(100), cosine(400), 100);
  EXPECT_NE(jump.find("goes on with 6.97e-05 after 100 updates, where 1e-05 was planned"), std::string::npos) << jump;
  EXPECT_NE(jump.find("from 100 to 400"), std::string::npos) << jump;
  EXPECT_EQ(RateJump(cosine(100), cosine(100), 60), "");
  const auto constant = [](int64_t steps) { return LrSchedule{8e-5, 0, LrSchedule::Shape::kConstant, 0.1, steps}; };
  EXPECT_EQ(RateJump(constant(100), constant(400), 100), "");
  EXPECT_EQ(RateJump(cosine(100), cosine(105), 60), "") << "not to be noticed";
}

TEST(LrScheduleTest, WarmUpLongerThanTheRun) {
  const LrSchedule schedule{1.0, 10, LrSchedule::Shape::kCosine, 0.0, 5};
  EXPECT_DOUBLE_EQ(schedule.At(4), 0.5);
  EXPECT_DOUBLE_EQ(schedule.At(9), 1.0);
  EXPECT_GE(schedule.At(10), 0.0);
}

}  // namespace
}  // namespace tactus
