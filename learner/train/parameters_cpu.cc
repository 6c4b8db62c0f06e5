#include "learner/train/parameters_cpu.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/weights/weight_publisher.h"
#include "learner/train/bucket_cpu.h"

namespace tactus {
namespace {

template <typename T>
std::span<T> Part(std::span<T> values, const FlatRange& range) {
  return values.subspan(static_cast<size_t>(range.begin), static_cast<size_t>(range.size()));
}

template <typename T>
std::span<char> Bytes(std::span<T> values) {
  return {reinterpret_cast<char*>(values.data()), values.size_bytes()};
}

}  // namespace

ParametersCpu::ParametersCpu(const ParameterLayout& layout, std::span<float> parameters, std::function<void()> changed,
                             const Sharding& sharding, StorageDType dtype)
    : layout_(layout),
      parameters_(parameters),
      changed_(std::move(changed)),
      dtype_(dtype),
      shard_(sharding.world > 1 ? sharding.shard : Shard::kNone),
      buckets_(CutBuckets(layout.total_numel, sharding)),
      share_(ShareOf(buckets_, sharding)) {
  if (shard_ >= Shard::kGradients && sharding.trains) divided_.emplace(buckets_, sharding);
}

std::span<float> ParametersCpu::gradients() {
  if (divided_.has_value()) return divided_->sums();
  gradients_.Reserve(layout_.total_numel);
  return {gradients_.data(), static_cast<size_t>(gradients_.size())};
}

AdamW& ParametersCpu::optimizer() {
  if (!optimizer_.has_value()) optimizer_.emplace(layout_, share_);
  return *optimizer_;
}

absl::Status ParametersCpu::ZeroGradients() {
  if (divided_.has_value()) {
    divided_->Zero();
  } else {
    std::ranges::fill(gradients(), 0.0f);
  }
  return absl::OkStatus();
}

absl::Status ParametersCpu::ReduceGradients(Collective& collective) {
  if (divided_.has_value()) return divided_->Finish(collective);
  for (const FlatRange& bucket : buckets_) {
    RETURN_IF_ERROR(collective.StartReduceScatterSum(Part(gradients(), bucket)));
  }
  RETURN_IF_ERROR(collective.Wait());
  return shard_ == Shard::kNone ? GatherFloats(gradients(), collective) : absl::OkStatus();
}

absl::Status ParametersCpu::GatherFloats(std::span<float> values, Collective& collective) {
  for (const FlatRange& bucket : buckets_) {
    RETURN_IF_ERROR(collective.StartAllGather(Bytes(Part(values, bucket)), sizeof(float)));
  }
  return collective.Wait();
}

// Of what the ranks have stepped on, in the storage dtype, where each computes with all of it.
absl::Status ParametersCpu::GatherParameters(Collective& collective) {
  if (shard_ == Shard::kNone || shard_ == Shard::kParameters) return absl::OkStatus();
  if (dtype_ == StorageDType::kFloat32) return GatherFloats(parameters_, collective);
  std::vector<char> bytes;
  for (const FlatRange& bucket : buckets_) {
    bytes.resize(static_cast<size_t>(bucket.size() * BytesPerElement(dtype_)));
    RETURN_IF_ERROR(StartGather(parameters_, bucket, dtype_, bytes, collective));
    RETURN_IF_ERROR(collective.Wait());
    TakeOthers(bytes, bucket, dtype_, collective, parameters_);
  }
  return absl::OkStatus();
}

// Also where every rank has the whole gradient, the norm is summed by slices: the same bits for every sharding.
absl::StatusOr<AdamWResult> ParametersCpu::Step(const AdamWOptions& options, const AdamWStep& step,
                                                Collective& collective) {
  const std::vector<FlatRange> mine = OwnedRanges(buckets_, collective.size(), collective.rank());
  ASSIGN_OR_RETURN(const double norm, GlobalNorm(gradients(), mine, collective));
  const AdamWResult result = optimizer().Step(options, step, step.gradient_scale * norm, parameters_, gradients());
  if (result.skipped) return result;
  RETURN_IF_ERROR(GatherParameters(collective));
  changed_();
  return result;
}

absl::StatusOr<ParameterSnapshot> ParametersCpu::ReadState(ParameterSnapshot room) {
  const std::span<const float> first = optimizer().first_moment(), second = optimizer().second_moment();
  room.first_moment.assign(first.begin(), first.end());
  room.second_moment.assign(second.begin(), second.end());
  room.parameters.clear();
  room.parameters.reserve(first.size());
  for (const FlatRange& range : share_) {
    const std::span<float> part = Part(parameters_, range);
    room.parameters.insert(room.parameters.end(), part.begin(), part.end());
  }
  return room;
}

absl::Status ParametersCpu::WriteState(const ParameterState& state, Collective& collective) {
  RETURN_IF_ERROR(CheckState(state, static_cast<size_t>(NumelOf(share_))));
  std::span<const float> joined = state.parameters;
  for (const FlatRange& range : share_) {
    const size_t size = static_cast<size_t>(range.size());
    std::ranges::copy(joined.first(size), Part(parameters_, range).begin());
    joined = joined.subspan(size);
  }
  for (const auto& [from, to] : {std::pair(state.first_moment, optimizer().first_moment()),
                                 std::pair(state.second_moment, optimizer().second_moment())}) {
    if (from.empty()) {
      std::ranges::fill(to, 0.0f);
    } else {
      std::ranges::copy(from, to.begin());
    }
  }
  RETURN_IF_ERROR(GatherParameters(collective));
  changed_();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<char>> ParametersCpu::ReadWeights(StorageDType dtype, Collective& collective,
                                                             std::vector<char> room) {
  if (shard_ != Shard::kParameters) return EncodeWeights(layout_, parameters_, dtype, std::move(room));
  const size_t width = static_cast<size_t>(BytesPerElement(dtype));
  std::vector<char> tensors = std::move(room), bytes;
  tensors.clear();
  if (collective.rank() == 0) tensors.reserve(static_cast<size_t>(layout_.total_numel) * width);
  for (auto bucket = buckets_.rbegin(); bucket != buckets_.rend(); ++bucket) {  // ascending
    bytes.resize(static_cast<size_t>(bucket->size()) * width);
    RETURN_IF_ERROR(StartGather(parameters_, *bucket, dtype, bytes, collective));
    RETURN_IF_ERROR(collective.Wait());
    if (collective.rank() != 0) continue;
    AppendTensors(layout_, *bucket, bytes, width, tensors);
  }
  return tensors;
}

absl::StatusOr<std::optional<SharedWeights>> ParametersCpu::Share(PolicyVersion) { return std::nullopt; }

}  // namespace tactus
