// A kernel's way through the runtime: pinned memory, queue, launch, copies back, a graph.
#include <gtest/gtest.h>

#include <cstdint>

#include "common/device/kernel_cuda.h"
#include "common/device/runtime_cuda.h"
#include "tests/device/need_gpu.h"

namespace tactus::device {
namespace {

__global__ void Affine(float* x, int n, float scale, float shift) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] = x[i] * scale + shift;
}

TEST(GpuRuntimeTest, AKernelChangesWhatWasCopiedIn) {
  NEED_GPU();
  constexpr int kCount = 1000;
  const QueueGuard queue(0);
  const at::Tensor host = PinnedEmpty({kCount}, at::kFloat), device = DeviceEmpty(0, {kCount}, at::kFloat);
  float* values = host.data_ptr<float>();
  for (int i = 0; i < kCount; ++i) values[i] = static_cast<float>(i);
  CopyAsync(device.data_ptr(), values, kCount * sizeof(float));
  Launch(Affine, dim3((kCount + 255) / 256), dim3(256), 0, device.data_ptr<float>(), kCount, 2.0f, 1.0f);
  CopyAsync(values, device.data_ptr(), kCount * sizeof(float));
  Synchronize();
  for (int i = 0; i < kCount; ++i) ASSERT_EQ(values[i], 2.0f * static_cast<float>(i) + 1.0f) << i;
}

}  // namespace
}  // namespace tactus::device
