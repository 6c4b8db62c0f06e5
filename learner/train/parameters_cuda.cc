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
#include "learner/train/bucket_cuda.h"

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

ParametersCuda::ParametersCuda(const ModelConfig& config, StorageDType dtype, int gpu, const Sharding& sharding,
                               bool flash)
    : layout_(MakeParameterLayout(config)),
      dtype_(dtype),
      gpu_(gpu),
      queue_(gpu),
      rank_(sharding.rank),
      world_(sharding.world),
      sharded_(!sharding.trains || (sharding.shard != Shard::kNone && sharding.world > 1)),
      by_parts_(sharding.shard == Shard::kParameters && sharding.world > 1),
      buckets_(CutBuckets(layout_.total_numel, sharding)),
      share_(ShareOf(buckets_, sharding)),
      owned_places_(OwnedPlaces(buckets_, sharding.world, sharding.rank)),
      masters_(device::DeviceEmpty(gpu, {NumelOf(share_)}, at::kFloat)),
      weights_(by_parts_
                   ? DecoderWeightsCuda(config, ops::TorchTypeOf(dtype), gpu, flash)
                   : DecoderWeightsCuda(config,
                                        dtype == StorageDType::kFloat32 && !sharded_
                                            ? masters_
                                            : device::DeviceEmpty(gpu, {layout_.total_numel}, ops::TorchTypeOf(dtype)),
                                        gpu, flash)) {
  if (by_parts_) {
    const int64_t numel = NumelOf(OwnedRanges(buckets_, sharding.world, sharding.rank));
    owned_ = device::DeviceEmpty(gpu, {numel}, ops::TorchTypeOf(dtype));
  }
  if (sharding.trains && sharding.world > 1 && sharding.shard >= Shard::kGradients) {
    divided_.emplace(gpu, weights_.parts(), buckets_, sharding);
  }
}

absl::Status ParametersCuda::Start(std::span<const float> parameters) {
  RETURN_IF_ERROR(CheckState({parameters, {}, {}}, static_cast<size_t>(layout_.total_numel)));
  const auto part = [&](const FlatRange& range) {
    return parameters.subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
  };
  return OnQueue([&]() -> absl::Status {
    first_ = second_ = at::Tensor();
    for (const FlatRange& range : share_) Upload(part(range), PartOf(masters_, range));
    if (!sharded_) return WeightsChanged(nullptr);
    const at::Tensor exact = DeviceFloats(buckets_.back().size());
    for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
      const FlatRange range = by_parts_ ? SliceOf(buckets_[bucket], world_, rank_) : buckets_[bucket];
      if (range.size() == 0) continue;
      const at::Tensor piece = exact.narrow(0, 0, range.size());
      Upload(part(range), piece);
      RoundInto(piece, by_parts_ ? owned_.narrow(0, owned_places_[bucket], range.size())
                                 : weights_.flat().narrow(0, range.begin, range.size()));
    }
    if (!by_parts_) weights_.NormsChanged();
    return absl::OkStatus();
  });
}

void ParametersCuda::RoundInto(const at::Tensor& from, const at::Tensor& to) {
  cuda::Round(from.const_data_ptr<float>(), from.numel(), to.scalar_type(), to.data_ptr());
}

// The place of a range of the share in a buffer of what is held.
at::Tensor ParametersCuda::PartOf(const at::Tensor& held, const FlatRange& range) const {
  int64_t place = 0;
  for (const FlatRange& before : share_) {
    if (range.begin < before.end) return held.narrow(0, place + range.begin - before.begin, range.size());
    place += before.size();
  }
  return {};
}

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

at::Tensor ParametersCuda::DeviceFloats(int64_t numel) const {
  at::Tensor floats = device::DeviceEmpty(gpu_, {numel}, at::kFloat);
  device::ZeroAsync(floats.data_ptr(), static_cast<size_t>(floats.nbytes()));
  return floats;
}

float* ParametersCuda::gradients() {
  if (!gradients_.defined()) gradients_ = DeviceFloats(layout_.total_numel);
  return gradients_.data_ptr<float>();
}

void ParametersCuda::MakeMoments() {
  if (first_.defined()) return;
  first_ = DeviceFloats(NumelOf(share_));
  second_ = DeviceFloats(NumelOf(share_));
}

void ParametersCuda::MakeSegments() {
  if (segments_.defined()) return;
  std::vector<cuda::AdamWSegment> segments;
  for (const AdamWPiece& piece : CutForAdamW(layout_, share_, cuda::kAdamWSegment)) {
    segments.push_back({.begin = divided_ ? piece.place : piece.begin,
                        .place = piece.place,
                        .count = static_cast<int32_t>(piece.end - piece.begin),
                        .decays = piece.decays ? 1 : 0});
  }
  num_segments_ = static_cast<int64_t>(segments.size());
  const int64_t bytes = num_segments_ * static_cast<int64_t>(sizeof(cuda::AdamWSegment));
  const at::Tensor pinned = device::PinnedEmpty({bytes}, at::kByte);
  std::memcpy(pinned.data_ptr(), segments.data(), static_cast<size_t>(bytes));
  segments_ = DeviceBytes(gpu_, bytes);
  device::CopyAsync(segments_.data_ptr(), pinned.const_data_ptr(), static_cast<size_t>(bytes));
  norm_workspace_ =
      device::DeviceEmpty(gpu_, {std::max(num_segments_, cuda::NormBlocks(layout_.total_numel))}, at::kDouble);
  norm_ = device::DeviceEmpty(gpu_, {1}, at::kDouble);
  pinned_norm_ = device::PinnedEmpty({1}, at::kDouble);
  device::Synchronize();  // before the pinned segments go
}

absl::Status ParametersCuda::ZeroGradients() {
  next_bucket_ = 0;
  return OnQueue([&] {
    if (divided_) {
      divided_->Zero();
      return absl::OkStatus();
    }
    float* const values = gradients();
    device::ZeroAsync(values, static_cast<size_t>(gradients_.nbytes()));
    return absl::OkStatus();
  });
}

absl::Status ParametersCuda::StartReducing(int64_t begin, Collective& collective) {
  for (; next_bucket_ < buckets_.size() && buckets_[next_bucket_].begin >= begin; ++next_bucket_) {
    const FlatRange& bucket = buckets_[next_bucket_];
    const std::span<float> values(gradients() + bucket.begin, static_cast<size_t>(bucket.size()));
    RETURN_IF_ERROR(!sharded_ ? collective.StartAllReduceSum(values) : collective.StartReduceScatterSum(values));
  }
  return absl::OkStatus();
}

absl::Status ParametersCuda::ReduceGradients(Collective& collective) {
  return OnQueue([&]() -> absl::Status {
    if (divided_) return divided_->Finish(collective);
    RETURN_IF_ERROR(StartReducing(0, collective));
    return collective.Wait();
  });
}

// As the segments count them.
const float* ParametersCuda::StepGradients() {
  return divided_ ? divided_->sums().const_data_ptr<float>() : gradients();
}

// On the queue. Of all ranks.
absl::StatusOr<double> ParametersCuda::GradientNorm(Collective& collective) {
  double* const workspace = norm_workspace_.data_ptr<double>();
  if (num_segments_ == 0) {  // more ranks than numbers
    device::ZeroAsync(norm_.data_ptr(), sizeof(double));
  } else if (!sharded_) {
    cuda::SumOfSquares(gradients(), layout_.total_numel, workspace, norm_.data_ptr<double>());
  } else {
    cuda::SumOfSquaresIn(reinterpret_cast<const cuda::AdamWSegment*>(segments_.const_data_ptr()), num_segments_,
                         StepGradients(), workspace, norm_.data_ptr<double>());
  }
  device::CopyAsync(pinned_norm_.data_ptr(), norm_.const_data_ptr(), sizeof(double));
  device::Synchronize();
  double sum = *pinned_norm_.const_data_ptr<double>();
  if (sharded_) RETURN_IF_ERROR(collective.AllReduceSum(std::span(&sum, 1)));
  return std::sqrt(sum);
}

// On the queue. Each rank's slices of a flat buffer, to every rank.
absl::Status ParametersCuda::Gather(const at::Tensor& flat, Collective& collective) {
  const size_t width = static_cast<size_t>(flat.element_size());
  const std::span<char> bytes(static_cast<char*>(flat.data_ptr()), flat.nbytes());
  for (const FlatRange& bucket : buckets_) {
    RETURN_IF_ERROR(collective.StartAllGather(
        bytes.subspan(static_cast<size_t>(bucket.begin) * width, static_cast<size_t>(bucket.size()) * width), width));
  }
  return collective.Wait();
}

absl::StatusOr<AdamWResult> ParametersCuda::Step(const AdamWOptions& options, const AdamWStep& step,
                                                 Collective& collective) {
  AdamWResult result;
  const absl::Status stepped = OnQueue([&]() -> absl::Status {
    MakeMoments();
    MakeSegments();
    ASSIGN_OR_RETURN(const double norm, GradientNorm(collective));
    result.grad_norm = step.gradient_scale * norm;
    result.skipped = options.Skips(result.grad_norm);
    if (result.skipped) return absl::OkStatus();
    const AdamWCoefficients c = AdamWCoefficients::Of(options, step, result.grad_norm);
    cuda::AdamWUpdateArgs args = AdamWArgsOf(c);
    args.segments = reinterpret_cast<const cuda::AdamWSegment*>(segments_.const_data_ptr());
    args.num_segments = num_segments_;
    args.gradients = StepGradients();
    args.parameters = masters_.data_ptr<float>();
    args.first = first_.data_ptr<float>();
    args.second = second_.data_ptr<float>();
    // Divided gradients have other places than what is computed with.
    const bool rounds = !divided_ && !masters_.is_same(weights_.flat());
    args.rounded = rounds ? weights_.flat().data_ptr() : nullptr;
    args.type = ops::TorchTypeOf(dtype_);
    cuda::AdamWUpdate(args);
    if (!rounds) return WeightsChanged(&collective);
    if (sharded_) RETURN_IF_ERROR(Gather(weights_.flat(), collective));
    weights_.NormsChanged();
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(stepped);
  return result;
}

// On the queue. The masters, rounded to what the model reads; of a share, each rank's to all.
absl::Status ParametersCuda::WeightsChanged(Collective* collective) {
  if (by_parts_) {
    RoundInto(masters_, owned_);  // the share is what is owned
    return absl::OkStatus();
  }
  if (!masters_.is_same(weights_.flat())) {
    for (const FlatRange& range : share_) {
      RoundInto(PartOf(masters_, range), weights_.flat().narrow(0, range.begin, range.size()));
    }
  }
  if (sharded_) RETURN_IF_ERROR(Gather(weights_.flat(), *collective));
  weights_.NormsChanged();
  return absl::OkStatus();
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

absl::StatusOr<ParameterSnapshot> ParametersCuda::ReadState(ParameterSnapshot room) {
  RETURN_IF_ERROR(OnQueue([&] {
    MakeMoments();
    for (const auto& [from, to] : {std::pair(&masters_, &room.parameters), std::pair(&first_, &room.first_moment),
                                   std::pair(&second_, &room.second_moment)}) {
      to->resize(static_cast<size_t>(NumelOf(share_)));
      Download(*from, to->data());
    }
    return absl::OkStatus();
  }));
  return room;
}

absl::Status ParametersCuda::WriteState(const ParameterState& state, Collective& collective) {
  RETURN_IF_ERROR(CheckState(state, static_cast<size_t>(NumelOf(share_))));
  return OnQueue([&]() -> absl::Status {
    Upload(state.parameters, masters_);
    RETURN_IF_ERROR(WeightsChanged(&collective));
    first_ = second_ = at::Tensor();
    if (state.first_moment.empty()) return absl::OkStatus();
    MakeMoments();
    Upload(state.first_moment, first_);
    Upload(state.second_moment, second_);
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<char>> ParametersCuda::ReadWeights(StorageDType dtype, Collective& collective,
                                                              std::vector<char> room) {
  if (dtype != dtype_) {
    return absl::InvalidArgumentError("weights can be read in the dtype alone that the GPU's policy computes in.");
  }
  if (by_parts_) return GatherWeights(collective, std::move(room));
  const at::Tensor& flat = weights_.flat();
  const size_t width = static_cast<size_t>(flat.element_size());
  room.resize(static_cast<size_t>(flat.nbytes()));
  RETURN_IF_ERROR(OnQueue([&] {
    Download(flat, room.data());
    return absl::OkStatus();
  }));
  size_t end = 0;  // the padding between tensors goes
  for (const ParameterSpec& spec : layout_.specs) {
    const size_t count = static_cast<size_t>(spec.numel) * width;
    std::memmove(room.data() + end, room.data() + static_cast<size_t>(spec.offset) * width, count);
    end += count;
  }
  room.resize(end);
  return room;
}

// Bucket by bucket, so that no rank holds more than one beside what it has.
absl::StatusOr<std::vector<char>> ParametersCuda::GatherWeights(Collective& collective, std::vector<char> room) {
  const size_t width = static_cast<size_t>(owned_.element_size());
  std::vector<char> tensors = std::move(room), bytes;
  tensors.clear();
  if (rank_ == 0) tensors.reserve(static_cast<size_t>(layout_.total_numel) * width);
  const absl::Status gathered = OnQueue([&]() -> absl::Status {
    const at::Tensor all = device::DeviceEmpty(gpu_, {buckets_.back().size()}, owned_.scalar_type());
    for (size_t bucket = buckets_.size(); bucket-- > 0;) {  // ascending
      const at::Tensor values = all.narrow(0, 0, buckets_[bucket].size());
      RETURN_IF_ERROR(StartGather(owned_, owned_places_[bucket], buckets_[bucket], values, collective));
      RETURN_IF_ERROR(collective.Wait());
      if (rank_ != 0) continue;
      bytes.resize(values.nbytes());
      Download(values, bytes.data());
      AppendTensors(layout_, buckets_[bucket], bytes, width, tensors);
    }
    return absl::OkStatus();
  });
  RETURN_IF_ERROR(gathered);
  return tensors;
}

absl::StatusOr<std::optional<SharedWeights>> ParametersCuda::Share(PolicyVersion version) {
  if (by_parts_) return std::nullopt;  // no rank has all
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
