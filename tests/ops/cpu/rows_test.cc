// Norms, rotary embedding and gated activations against float64, their gradients against finite differences.
#include <gtest/gtest.h>

#include <functional>

#include "tests/ops/reference.h"

namespace tactus::ops {
namespace {

constexpr int64_t kWidth = 48, kRows = 5;

// Central difference of a scalar function of float values, computed in double by `f`.
void ExpectGradient(const std::function<double(const std::vector<double>&)>& f, const std::vector<float>& at,
                    const float* gradient, double tolerance) {
  std::vector<double> x(at.begin(), at.end());
  for (size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-5, keep = x[i];
    x[i] = keep + h;
    const double up = f(x);
    x[i] = keep - h;
    const double down = f(x);
    x[i] = keep;
    ASSERT_NEAR(gradient[i], (up - down) / (2 * h), tolerance) << "element " << i;
  }
}

double NormLoss(const std::vector<double>& x, const std::vector<double>& weight, const std::vector<float>& dy) {
  double loss = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    double squares = 0;
    for (int64_t j = 0; j < kWidth; ++j)
      squares += x[static_cast<size_t>(r * kWidth + j)] * x[static_cast<size_t>(r * kWidth + j)];
    const double inverse = 1 / std::sqrt(squares / kWidth + 1e-5);
    for (int64_t j = 0; j < kWidth; ++j) {
      const size_t i = static_cast<size_t>(r * kWidth + j);
      loss += x[i] * inverse * weight[static_cast<size_t>(j)] * dy[i];
    }
  }
  return loss;
}

TEST(RmsNormTest, ForwardAndGradients) {
  const std::vector<float> x = RandomFloats(kRows * kWidth, 1), weight = RandomFloats(kWidth, 2);
  const std::vector<float> dy = RandomFloats(kRows * kWidth, 3);
  ForEachKernelTable([&](const Kernels& kernels) {
    std::vector<float> y(x.size()), inverse(kRows), dx(x.size(), 0.25f), dweight(kWidth, 0.5f);
    kernels.rms_norm(x.data(), weight.data(), 1e-5f, kRows, kWidth, kWidth, kWidth, y.data(), inverse.data());
    double got = 0;
    for (size_t i = 0; i < y.size(); ++i) got += static_cast<double>(y[i]) * dy[i];
    const std::vector<double> wide_x(x.begin(), x.end()), wide_weight(weight.begin(), weight.end());
    EXPECT_NEAR(got, NormLoss(wide_x, wide_weight, dy), 1e-4);
    kernels.rms_norm_backward(x.data(), weight.data(), inverse.data(), dy.data(), kRows, kWidth, kWidth, kWidth, kWidth,
                              dx.data(), dweight.data(), true);
    for (float& value : dx) value -= 0.25f;
    for (float& value : dweight) value -= 0.5f;
    ExpectGradient([&](const std::vector<double>& v) { return NormLoss(v, wide_weight, dy); }, x, dx.data(), 2e-5);
    ExpectGradient([&](const std::vector<double>& v) { return NormLoss(wide_x, v, dy); }, weight, dweight.data(), 2e-5);
  });
}

double SwiGluLoss(const std::vector<double>& gate_up, const std::vector<float>& dy) {
  double loss = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t j = 0; j < kWidth; ++j) {
      const double g = gate_up[static_cast<size_t>(r * 2 * kWidth + j)];
      loss += g / (1 + std::exp(-g)) * gate_up[static_cast<size_t>((r * 2 + 1) * kWidth + j)] *
              dy[static_cast<size_t>(r * kWidth + j)];
    }
  }
  return loss;
}

TEST(SwiGluTest, ForwardAndGradients) {
  std::vector<float> gate_up = RandomFloats(kRows * 2 * kWidth, 4, 3.0f);
  gate_up[0] = 60.0f;
  gate_up[1] = -60.0f;
  const std::vector<float> dy = RandomFloats(kRows * kWidth, 5);
  ForEachKernelTable([&](const Kernels& kernels) {
    std::vector<float> y(kRows * kWidth), dgate_up(gate_up.size());
    kernels.swiglu(gate_up.data(), kRows, kWidth, y.data());
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t j = 0; j < kWidth; ++j) {
        const double g = gate_up[static_cast<size_t>(r * 2 * kWidth + j)];
        const double expected = g / (1 + std::exp(-g)) * gate_up[static_cast<size_t>((r * 2 + 1) * kWidth + j)];
        ASSERT_NEAR(y[static_cast<size_t>(r * kWidth + j)], expected, 1e-6 * std::abs(expected) + 1e-6);
      }
    }
    kernels.swiglu_backward(gate_up.data(), dy.data(), kRows, kWidth, dgate_up.data());
    ExpectGradient([&](const std::vector<double>& v) { return SwiGluLoss(v, dy); }, gate_up, dgate_up.data(), 2e-5);
  });
}

TEST(RopeTest, RotatesAndItsInverseRestores) {
  constexpr int64_t kHead = 32;
  const std::vector<float> x = RandomFloats(kHead, 6);
  std::vector<float> cosines(kHead / 2), sines(kHead / 2);
  for (size_t j = 0; j < cosines.size(); ++j) {
    cosines[j] = std::cos(0.3f * static_cast<float>(j));
    sines[j] = std::sin(0.3f * static_cast<float>(j));
  }
  ForEachKernelTable([&](const Kernels& kernels) {
    std::vector<float> y = x;
    kernels.rope(y.data(), cosines.data(), sines.data(), kHead, 1.0f);
    for (size_t j = 0; j < kHead / 2; ++j) {
      EXPECT_NEAR(y[j], static_cast<double>(x[j]) * cosines[j] - static_cast<double>(x[j + kHead / 2]) * sines[j],
                  1e-6);
      EXPECT_NEAR(y[j + kHead / 2],
                  static_cast<double>(x[j + kHead / 2]) * cosines[j] + static_cast<double>(x[j]) * sines[j], 1e-6);
    }
    kernels.rope(y.data(), cosines.data(), sines.data(), kHead, -1.0f);
    for (size_t j = 0; j < kHead; ++j) EXPECT_NEAR(y[j], x[j], 1e-6);
  });
}

}  // namespace
}  // namespace tactus::ops
