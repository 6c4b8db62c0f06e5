// The optimizer's kernels against the CPU's, which is held against torch and a float64 loop.
#include <cmath>
#include <limits>

#include "common/ops/cuda/adamw_cuda.h"
#include "tests/ops/cuda/device_array.h"

namespace tactus::ops::cuda {
namespace {

TEST(SumOfSquaresTest, IsTheFloat64SumForEverySize) {
  NEED_GPU();
  for (const size_t size : {1u, 31u, 256u, 257u, 32768u, 32769u, 100003u}) {
    const auto values = RandomArray<float>(size, size);
    double expected = 0;
    for (const float value : values) expected += double{value} * value;
    DeviceArray<float> device_values(values);
    DeviceArray<double> workspace(static_cast<size_t>(NormBlocks(static_cast<int64_t>(size)))), sum(1);
    const auto result = InEveryOrder([&] {
      SumOfSquares(device_values.get(), static_cast<int64_t>(size), workspace.get(), sum.get());
      return sum.Read();
    });
    EXPECT_NEAR(result[0], expected, 1e-13 * expected) << size;
  }
}

TEST(SumOfSquaresTest, LargeValuesDoNotOverflowAndNonFiniteOnesShow) {
  NEED_GPU();
  DeviceArray<double> workspace(4), sum(1);
  for (const float bad : {3e38f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> values(70000, 1.0f);
    values[69999] = bad;
    DeviceArray<float> device_values(values);
    SumOfSquares(device_values.get(), 70000, workspace.get(), sum.get());
    EXPECT_EQ(std::isfinite(sum.Read()[0]), std::isfinite(bad)) << bad;
  }
}

TEST(AdamWUpdateTest, FollowsTheDefinitionAndRoundsTheWeights) {
  NEED_GPU();
  constexpr size_t kCount = 5000;
  AdamWUpdateArgs args;
  args.clip = 0.5f;
  args.beta1 = 0.8f;
  args.one_minus_beta1 = 0.2f;
  args.beta2 = 0.99f;
  args.one_minus_beta2 = 0.01f;
  args.eps = 1e-6f;
  args.keep = 0.9f;
  args.step_size = 0.02f;
  args.inverse_sqrt_correction = 3.0f;
  const auto parameters = RandomArray<float>(kCount, 1), gradients = RandomArray<float>(kCount, 2);
  const auto first = RandomArray<float>(kCount, 3);
  auto second = RandomArray<float>(kCount, 4);
  for (float& value : second) value *= value;
  // The first 4096 decay, 100 are nobody's, the rest do not decay.
  DeviceArray<AdamWSegment> segments(std::vector<AdamWSegment>{
      {.begin = 0, .place = 0, .count = 4096, .decays = 1}, {.begin = 4196, .place = 4196, .count = 804, .decays = 0}});
  DeviceArray<float> p(kCount), m(kCount), v(kCount), g(gradients);
  DeviceArray<c10::BFloat16> rounded(kCount);
  args.segments = segments.get();
  args.num_segments = 2;
  args.gradients = g.get();
  args.parameters = p.get();
  args.first = m.get();
  args.second = v.get();
  args.rounded = rounded.get();
  args.type = at::kBFloat16;
  const auto result = InEveryOrder([&] {
    p.Write(parameters);
    m.Write(first);
    v.Write(second);
    AdamWUpdate(args);
    return p.Read();
  });
  const auto new_first = m.Read(), new_second = v.Read();
  const auto new_rounded = rounded.Read();
  for (size_t i = 0; i < kCount; ++i) {
    if (i >= 4096 && i < 4196) {
      ASSERT_EQ(result[i], parameters[i]) << i;
      continue;
    }
    const double clipped = 0.5 * double{gradients[i]};
    const double first_moment = 0.8 * double{first[i]} + 0.2 * clipped;
    const double second_moment = 0.99 * double{second[i]} + 0.01 * clipped * clipped;
    const double moved =
        double{parameters[i]} * (i < 4096 ? 0.9 : 1.0) - 0.02 * first_moment / (std::sqrt(second_moment) * 3 + 1e-6);
    ASSERT_NEAR(new_first[i], first_moment, 1e-6) << i;
    ASSERT_NEAR(new_second[i], second_moment, 1e-6 * (1 + second_moment)) << i;
    ASSERT_NEAR(result[i], moved, 2e-6) << i;
    ASSERT_EQ(static_cast<float>(new_rounded[i]), static_cast<float>(c10::BFloat16(result[i]))) << i;
  }
}

}  // namespace
}  // namespace tactus::ops::cuda
