#include "common/collective/nccl_collective_cuda.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <cstdlib>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/collective/bounded_call.h"
#include "common/collective/c10d_group.h"
#include "common/collective/connect_bounded.h"
#include "common/collective/shared_gpus.h"

namespace tactus {
namespace {

using c10d::ProcessGroupNCCL;
using Group = c10::intrusive_ptr<ProcessGroupNCCL>;
using Kind = CommRequest::Kind;

// Pieces long enough for NCCL's full bandwidth. It has no callback for a finished operation: an event is asked.
constexpr CommLimits kLimits = {
    .piece_bytes = size_t{64} << 20, .max_in_flight = 16, .poll_interval = absl::Microseconds(50)};

constexpr absl::Duration kMargin = absl::Seconds(1);
constexpr absl::Duration kAbortPatience = absl::Seconds(30);

// By default c10d's threads end the process when an operation fails or takes long; here that is for the caller to
// judge.
constexpr const char* kLeaveErrorsToUs[] = {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_ENABLE_MONITORING",
                                            "TORCH_NCCL_RETHROW_CUDA_ERRORS", "TORCH_NCCL_DUMP_ON_TIMEOUT"};

// The bytes of a request on the GPU: where they are, or in a buffer.
struct Staged {
  at::Tensor tensor;
  bool is_copy = false;
};

bool IsOnGpu(const void* data) {
  cudaPointerAttributes attributes = {};
  if (cudaPointerGetAttributes(&attributes, data) != cudaSuccess) {
    cudaGetLastError();  // memory that CUDA does not know: not an error here
    return false;
  }
  return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
}

// `size` bytes that begin with `bytes`: where they are, when they are all. On the current device and stream. May throw.
Staged StageOf(std::span<char> bytes, size_t size, at::ScalarType type, c10::Device device) {
  const int64_t numel = static_cast<int64_t>(size / c10::elementSize(type));
  const at::TensorOptions options = at::TensorOptions().dtype(type).device(device);
  if (size == bytes.size() && IsOnGpu(bytes.data())) return {at::from_blob(bytes.data(), {numel}, options), false};
  Staged staged = {at::zeros({numel}, options), true};
  C10_CUDA_CHECK(cudaMemcpyAsync(staged.tensor.data_ptr(), bytes.data(), bytes.size(), cudaMemcpyDefault,
                                 c10::cuda::getCurrentCUDAStream()));
  return staged;
}

class NcclOperation : public CommOperation {
 public:
  NcclOperation(c10::intrusive_ptr<c10d::Work> work, at::Tensor input, Staged result, std::span<char> output)
      : work_(std::move(work)), input_(std::move(input)), result_(std::move(result)), output_(output) {}

  absl::StatusOr<bool> Done() override {
    try {
      return work_->isCompleted();
    } catch (...) {  // the event that is asked may tell of a failed kernel
      return StatusOfException(std::current_exception());
    }
  }

  absl::Status Collect() override {
    try {
      if (const std::exception_ptr error = work_->exception()) return StatusOfException(error);
      const c10::cuda::CUDAGuard guard(result_.tensor.device());
      work_->synchronize();  // the current stream too takes it for finished
      if (!result_.is_copy) return absl::OkStatus();
      const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
      C10_CUDA_CHECK(
          cudaMemcpyAsync(output_.data(), result_.tensor.data_ptr(), output_.size(), cudaMemcpyDefault, stream));
      C10_CUDA_CHECK(cudaStreamSynchronize(stream));
      return absl::OkStatus();
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
  const at::Tensor input_;  // kept until the operation is over
  const Staged result_;
  const std::span<char> output_;
};

class NcclBackend : public CommBackend {
 public:
  NcclBackend(Group group, c10::Device device, absl::Duration timeout)
      : group_(std::move(group)), device_(device), timeout_(timeout) {}

  // A group whose abort failed still has threads inside NCCL: it is left behind with them.
  ~NcclBackend() override {
    // The regular end waits for the other ranks to have read what this one sent.
    if (!aborted_) ended_ = EndsWithin(timeout_, &ProcessGroupNCCL::shutdown);
    if (!aborted_ && !ended_) ended_ = EndsWithin(kAbortPatience, &ProcessGroupNCCL::abort);
    if (!ended_) group_.release();
  }

  CommLimits limits() const override { return kLimits; }

  absl::StatusOr<std::unique_ptr<CommOperation>> Start(const CommRequest& request, std::function<void()>) override {
    try {
      const c10::cuda::CUDAGuard guard(device_);
      return Begin(request);
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  }

  void Abort() override {
    aborted_ = true;
    ended_ = Ends(group_, device_, &ProcessGroupNCCL::abort);
  }

 private:
  using End = void (ProcessGroupNCCL::*)();
  // Whether NCCL let go of everything.
  static bool Ends(const Group& group, c10::Device device, End end) {
    try {
      const c10::cuda::CUDAGuard guard(device);
      (group.get()->*end)();
      return true;
    } catch (...) {
      return false;  // NCCL did not come back in time; nothing more can be done about it
    }
  }
  bool EndsWithin(absl::Duration patience, End end) const {
    const std::function<bool()> call = [group = group_, device = device_, end] { return Ends(group, device, end); };
    return CallBounded(patience, call).value_or(false);
  }

  std::unique_ptr<CommOperation> Begin(const CommRequest& request) {
    const std::span<char> values = request.values;
    const auto stage = [&](at::ScalarType type) { return StageOf(values, values.size(), type, device_); };
    c10::intrusive_ptr<c10d::Work> work;
    Staged result;
    switch (request.kind) {
      case Kind::kSumFloats:
      case Kind::kSumDoubles: {
        result = stage(request.kind == Kind::kSumFloats ? at::kFloat : at::kDouble);
        std::vector<at::Tensor> tensors = {result.tensor};
        work = group_->allreduce(tensors);
        break;
      }
      case Kind::kReduceScatterFloats:
      case Kind::kGather:
        return BeginSliced(request);
      case Kind::kBroadcastBytes: {
        c10d::BroadcastOptions broadcast;
        broadcast.rootRank = request.root;
        result = stage(at::kChar);
        std::vector<at::Tensor> tensors = {result.tensor};
        work = group_->broadcast(tensors, broadcast);
        break;
      }
    }
    return std::make_unique<NcclOperation>(std::move(work), at::Tensor(), std::move(result), values);
  }

  // In place where the slices are equal, as NCCL wants them; otherwise in a longer buffer.
  std::unique_ptr<CommOperation> BeginSliced(const CommRequest& request) {
    const std::span<char> values = request.values;
    const bool gathers = request.kind == Kind::kGather;
    const at::ScalarType type = gathers ? at::kChar : at::kFloat;
    const size_t before = request.slice_bytes * static_cast<size_t>(group_->getRank());
    Staged whole = StageOf(values, request.slice_bytes * static_cast<size_t>(group_->getSize()), type, device_);
    const int64_t width = static_cast<int64_t>(c10::elementSize(type));
    at::Tensor mine =
        whole.tensor.narrow(0, static_cast<int64_t>(before) / width, static_cast<int64_t>(request.slice_bytes) / width);
    if (gathers) {
      auto work = group_->_allgather_base(whole.tensor, mine);
      return std::make_unique<NcclOperation>(std::move(work), std::move(mine), std::move(whole), values);
    }
    auto work = group_->_reduce_scatter_base(mine, whole.tensor);
    const size_t begin = std::min(values.size(), before);
    const std::span<char> sum = values.subspan(begin, std::min(request.slice_bytes, values.size() - begin));
    return std::make_unique<NcclOperation>(std::move(work), whole.tensor, Staged{mine, whole.is_copy}, sum);
  }

  Group group_;
  const c10::Device device_;
  const absl::Duration timeout_;
  std::atomic<bool> aborted_ = false;
  std::atomic<bool> ended_ = false;  // no thread is inside NCCL any more
};

// What tells this GPU from every other. FailedPrecondition when there is none with this index.
absl::StatusOr<std::string> GpuId(int device_index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess)
    return absl::FailedPreconditionError(
        absl::StrCat("Collective: device cuda:", device_index, " needs a GPU: ", cudaGetErrorString(error), "."));
  if (device_index >= count)
    return absl::FailedPreconditionError(
        absl::StrCat("Collective: device cuda:", device_index, ": this machine has ", count, " GPUs."));
  cudaDeviceProp properties = {};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  return absl::BytesToHexString(absl::string_view(properties.uuid.bytes, sizeof(properties.uuid.bytes)));
}

// Connects with the other ranks. May throw.
absl::StatusOr<std::shared_ptr<CommBackend>> Connect(const CollectiveOptions& options, c10::Device device,
                                                     const c10::intrusive_ptr<c10d::Store>& store) {
  for (const char* variable : kLeaveErrorsToUs) setenv(variable, "0", 0);
  auto group_options = ProcessGroupNCCL::Options::create();
  group_options->timeout = CeilMilliseconds(options.timeout + kMargin);  // ours comes first
  const Group group = c10::make_intrusive<ProcessGroupNCCL>(store, options.rank, options.world, group_options);
  const std::function<absl::Status()> connect = [group, device] {
    try {
      const c10::cuda::CUDAGuard guard(device);
      group->eagerConnectSingleDevice(device);
      return absl::OkStatus();
    } catch (...) {
      return StatusOfException(std::current_exception());
    }
  };
  const auto backend = std::make_shared<NcclBackend>(group, device, options.timeout);
  const absl::Status connected = ConnectBounded(backend, options.timeout, kAbortPatience, connect);
  if (connected.ok()) return backend;
  return absl::UnavailableError(absl::StrCat("Rank ", options.rank, " of ", options.world, " connecting by NCCL on ",
                                             options.device, ": ", connected.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Collective>> CreateNcclCollective(const CollectiveOptions& options, int device_index) {
  const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(device_index));
  try {
    ASSIGN_OR_RETURN(const std::string gpu, GpuId(device_index));
    return JoinC10dGroup(
        options, gpu,
        [&](const c10::intrusive_ptr<c10d::Store>& store,
            const std::vector<std::string>& places) -> absl::StatusOr<std::shared_ptr<CommBackend>> {
          int version = 0;
          ncclGetVersion(&version);
          const char* enabled = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
          RETURN_IF_ERROR(CheckSharedGpus(places, version, enabled != nullptr && std::string(enabled) == "1"));
          return Connect(options, device, store);
        });
  } catch (...) {
    return StatusOfException(std::current_exception());
  }
}

}  // namespace tactus
