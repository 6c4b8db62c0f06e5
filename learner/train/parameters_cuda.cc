#include "learner/train/parameters_cuda.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/ops/cuda/adamw_cuda.h"
#include "common/ops/cuda/backward_cuda.h"

namespace tactus {

namespace cuda = ops::cuda;

namespace {

// Of one piece on its way between host and device: long enough for the bus, short against a set.
constexpr int64_t kPieceBytes = int64_t{32} << 20;

at::Tensor DeviceBytes(int gpu, int64_t bytes) { return device::DeviceEmpty(gpu, {bytes}, at::kByte); }

std::byte* BytesOf(const at::Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }

}  // namespace

cuda::AdamWUpdateArgs AdamWArgsOf(const AdamWCoefficients& c) {
  return {.clip = c.clip,
          .beta1 = c.beta1,
          .one_minus_beta1 = c.one_minus_beta1,
          .beta2 = c.beta2,
          .one_minus_beta2 = c.one_minus_beta2,
          .eps = c.eps,
          .keep = c.keep,
          .step_size = c.step_size,
          .inverse_sqrt_correction = c.inverse_sqrt_correction};
}

ParametersCuda::ParametersCuda(const ModelConfig& config, StorageDType dtype, int gpu)
    : layout_(MakeParameterLayout(config)),
      dtype_(dtype),
      gpu_(gpu),
      queue_(gpu),
      masters_(device::DeviceEmpty(gpu, {layout_.total_numel}, at::kFloat)),
      weights_(config,
               dtype == StorageDType::kFloat32
                   ? masters_
                   : device::DeviceEmpty(gpu, {layout_.total_numel}, ops::TorchTypeOf(dtype)),
               gpu),
      buckets_(CutGradientBuckets(layout_, kGradientBucketBytes)) {}

absl::Status ParametersCuda::Guarded(absl::FunctionRef<absl::Status()> work) {
  try {
    return work();
  } catch (const c10::OutOfMemoryError& e) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the GPU has too little memory for the policy: ", e.what_without_backtrace()));
  } catch (const c10::Error& e) {
    return absl::InternalError(absl::StrCat("the policy's GPU failed: ", e.what_without_backtrace()));
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("the policy's GPU failed: ", e.what()));
  }
}

absl::Status ParametersCuda::OnQueue(absl::FunctionRef<absl::Status()> work) {
  return Guarded([&] {
    const device::QueueGuard guard(queue_);
    return work();
  });
}

at::Tensor ParametersCuda::DeviceFloats() const {
  at::Tensor floats = device::DeviceEmpty(gpu_, {layout_.total_numel}, at::kFloat);
  device::ZeroAsync(floats.data_ptr(), static_cast<size_t>(floats.nbytes()));
  return floats;
}

float* ParametersCuda::gradients() {
  if (!gradients_.defined()) gradients_ = DeviceFloats();
  return gradients_.data_ptr<float>();
}

void ParametersCuda::MakeMoments() {
  if (first_.defined()) return;
  first_ = DeviceFloats();
  second_ = DeviceFloats();
}

void ParametersCuda::MakeSegments() {
  if (segments_.defined()) return;
  std::vector<cuda::AdamWSegment> segments;
  for (const ParameterSpec& spec : layout_.specs) {
    const int64_t end = spec.offset + spec.numel;
    for (int64_t begin = spec.offset; begin < end; begin += cuda::kAdamWSegment) {
      segments.push_back({.begin = begin,
                          .count = static_cast<int32_t>(std::min(end - begin, cuda::kAdamWSegment)),
                          .decays = spec.shape.size() >= 2 ? 1 : 0});
    }
  }
  num_segments_ = static_cast<int64_t>(segments.size());
  const int64_t bytes = num_segments_ * static_cast<int64_t>(sizeof(cuda::AdamWSegment));
  const at::Tensor pinned = device::PinnedEmpty({bytes}, at::kByte);
  std::memcpy(pinned.data_ptr(), segments.data(), static_cast<size_t>(bytes));
  segments_ = DeviceBytes(gpu_, bytes);
  device::CopyAsync(segments_.data_ptr(), pinned.const_data_ptr(), static_cast<size_t>(bytes));
  norm_workspace_ = device::DeviceEmpty(gpu_, {cuda::NormBlocks(layout_.total_numel)}, at::kDouble);
  norm_ = device::DeviceEmpty(gpu_, {1}, at::kDouble);
  pinned_norm_ = device::PinnedEmpty({1}, at::kDouble);
  device::Synchronize();  // before the pinned segments go
}

absl::Status ParametersCuda::ZeroGradients() {
  for (std::vector<float>& values : snapshot_) values = {};
  next_bucket_ = 0;
  return OnQueue([&] {
    float* const values = gradients();
    device::ZeroAsync(values, static_cast<size_t>(gradients_.nbytes()));
    return absl::OkStatus();
  });
}

absl::Status ParametersCuda::StartReducing(int64_t begin, Collective& collective) {
  for (; next_bucket_ < buckets_.size() && buckets_[next_bucket_].begin >= begin; ++next_bucket_) {
    const GradientBucket& bucket = buckets_[next_bucket_];
    const std::span<float> values(gradients() + bucket.begin, static_cast<size_t>(bucket.end - bucket.begin));
    RETURN_IF_ERROR(collective.StartAllReduceSum(values));
  }
  return absl::OkStatus();
}

absl::Status ParametersCuda::ReduceGradients(Collective& collective) {
  return OnQueue([&]() -> absl::Status {
    RETURN_IF_ERROR(StartReducing(0, collective));
    return collective.Wait();
  });
}

absl::StatusOr<AdamWResult> ParametersCuda::Step(const AdamWOptions& options, const AdamWStep& step) {
  AdamWResult result;
  RETURN_IF_ERROR(OnQueue([&] {
    MakeMoments();
    MakeSegments();
    cuda::SumOfSquares(gradients(), layout_.total_numel, norm_workspace_.data_ptr<double>(), norm_.data_ptr<double>());
    device::CopyAsync(pinned_norm_.data_ptr(), norm_.const_data_ptr(), sizeof(double));
    device::Synchronize();
    result.grad_norm = std::sqrt(*pinned_norm_.const_data_ptr<double>());
    result.skipped = !std::isfinite(result.grad_norm);
    if (result.skipped) return absl::OkStatus();
    const AdamWCoefficients c = AdamWCoefficients::Of(options, step, result.grad_norm);
    cuda::AdamWUpdateArgs args = AdamWArgsOf(c);
    args.segments = reinterpret_cast<const cuda::AdamWSegment*>(segments_.const_data_ptr());
    args.num_segments = num_segments_;
    args.gradients = gradients();
    args.parameters = masters_.data_ptr<float>();
    args.first = first_.data_ptr<float>();
    args.second = second_.data_ptr<float>();
    args.rounded = dtype_ == StorageDType::kFloat32 ? nullptr : weights_.flat().data_ptr();
    args.type = weights_.flat().scalar_type();
    cuda::AdamWUpdate(args);
    weights_.NormsChanged();
    return absl::OkStatus();
  }));
  return result;
}

// All of the masters, rounded to what the model reads.
void ParametersCuda::WeightsChanged() {
  if (dtype_ != StorageDType::kFloat32) {
    cuda::Round(masters_.const_data_ptr<float>(), layout_.total_numel, weights_.flat().scalar_type(),
                weights_.flat().data_ptr());
  }
  weights_.NormsChanged();
}

at::Tensor& ParametersCuda::Piece() {
  if (!piece_.defined()) {
    const int64_t largest = layout_.total_numel * static_cast<int64_t>(sizeof(float));
    piece_ = device::PinnedEmpty({std::min(kPieceBytes, largest)}, at::kByte);
  }
  return piece_;
}

void ParametersCuda::Download(const at::Tensor& from, void* to) {
  const int64_t bytes = static_cast<int64_t>(from.nbytes());
  for (int64_t at = 0; at < bytes; at += Piece().numel()) {
    const size_t count = static_cast<size_t>(std::min(Piece().numel(), bytes - at));
    device::CopyAsync(Piece().data_ptr(), BytesOf(from) + at, count);
    device::Synchronize();
    std::memcpy(static_cast<std::byte*>(to) + at, Piece().const_data_ptr(), count);
  }
}

void ParametersCuda::Upload(std::span<const float> from, const at::Tensor& to) {
  const int64_t bytes = static_cast<int64_t>(from.size_bytes());
  for (int64_t at = 0; at < bytes; at += Piece().numel()) {
    const size_t count = static_cast<size_t>(std::min(Piece().numel(), bytes - at));
    std::memcpy(Piece().data_ptr(), reinterpret_cast<const std::byte*>(from.data()) + at, count);
    device::CopyAsync(BytesOf(to) + at, Piece().const_data_ptr(), count);
    device::Synchronize();
  }
}

absl::StatusOr<ParameterState> ParametersCuda::ReadState() {
  RETURN_IF_ERROR(OnQueue([&] {
    MakeMoments();
    const at::Tensor* const buffers[] = {&masters_, &first_, &second_};
    for (size_t i = 0; i < 3; ++i) {
      snapshot_[i].resize(static_cast<size_t>(layout_.total_numel));
      Download(*buffers[i], snapshot_[i].data());
    }
    return absl::OkStatus();
  }));
  return ParameterState{snapshot_[0], snapshot_[1], snapshot_[2]};
}

absl::Status ParametersCuda::WriteState(const ParameterState& state) {
  RETURN_IF_ERROR(CheckState(state, static_cast<size_t>(layout_.total_numel)));
  return OnQueue([&] {
    Upload(state.parameters, masters_);
    WeightsChanged();
    if (state.first_moment.empty()) {
      first_ = second_ = at::Tensor();
      return absl::OkStatus();
    }
    MakeMoments();
    Upload(state.first_moment, first_);
    Upload(state.second_moment, second_);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<char>> ParametersCuda::ReadWeights(StorageDType dtype) {
  if (dtype != dtype_) {
    return absl::InvalidArgumentError("weights can be read in the dtype alone that the GPU's policy computes in.");
  }
  const at::Tensor& flat = weights_.flat();
  const size_t width = static_cast<size_t>(flat.element_size());
  std::vector<char> bytes(static_cast<size_t>(flat.nbytes()));
  RETURN_IF_ERROR(OnQueue([&] {
    Download(flat, bytes.data());
    return absl::OkStatus();
  }));
  size_t end = 0;  // the padding between tensors goes
  for (const ParameterSpec& spec : layout_.specs) {
    const size_t count = static_cast<size_t>(spec.numel) * width;
    std::memmove(bytes.data() + end, bytes.data() + static_cast<size_t>(spec.offset) * width, count);
    end += count;
  }
  bytes.resize(end);
  return bytes;
}

absl::StatusOr<std::optional<SharedWeights>> ParametersCuda::Share(PolicyVersion version) {
  if (!export_.has_value()) export_.emplace(gpu_, layout_.total_numel, dtype_);
  absl::StatusOr<SharedWeights> shared = absl::InternalError("not shared");
  RETURN_IF_ERROR(OnQueue([&] {
    shared = export_->Publish(version, weights_.flat());
    return absl::OkStatus();
  }));
  if (!shared.ok()) return shared.status();
  return *std::move(shared);
}

}  // namespace tactus
