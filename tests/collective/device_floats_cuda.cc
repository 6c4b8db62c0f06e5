#include "tests/collective/device_floats_cuda.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

namespace tactus {

DeviceFloats::DeviceFloats(const std::vector<float>& values) : size_(values.size()) {
  const size_t bytes = size_ * sizeof(float);
  C10_CUDA_CHECK(cudaMalloc(&data_, bytes));
  C10_CUDA_CHECK(
      cudaMemcpyAsync(data_, values.data(), bytes, cudaMemcpyHostToDevice, c10::cuda::getCurrentCUDAStream()));
}

DeviceFloats::~DeviceFloats() { cudaFree(data_); }

std::vector<float> DeviceFloats::ToHost() const {
  std::vector<float> values(size_);
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  C10_CUDA_CHECK(cudaMemcpyAsync(values.data(), data_, size_ * sizeof(float), cudaMemcpyDeviceToHost, stream));
  C10_CUDA_CHECK(cudaStreamSynchronize(stream));
  return values;
}

}  // namespace tactus
