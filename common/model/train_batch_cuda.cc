#include "common/model/train_batch_cuda.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "common/device/runtime_cuda.h"

namespace tactus {

at::Tensor DeviceScratch::Get(at::IntArrayRef sizes, at::ScalarType type) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(type));
  for (const int64_t size : sizes) bytes *= size;
  const int64_t have = bytes_.defined() ? bytes_.numel() : 0;
  if (bytes > have || !bytes_.defined()) {
    bytes_ = at::Tensor();  // the old memory first: the two need never exist together
    bytes_ = device::DeviceEmpty(gpu_, {std::max({bytes, have + have / 4, int64_t{16}})}, at::kByte);
  }
  return bytes_.narrow(0, 0, bytes).view(type).view(sizes);
}

int64_t DeviceUpload::Add(std::vector<int32_t> values) {
  // Every array starts at 16 bytes.
  const int64_t place = static_cast<int64_t>(host_.size() + 3) / 4 * 4;
  host_.resize(static_cast<size_t>(place));
  host_.insert(host_.end(), values.begin(), values.end());
  return place;
}

int64_t DeviceUpload::Add(const std::vector<float>& values) {
  std::vector<int32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return Add(std::move(bits));
}

void DeviceUpload::Send() {
  const int64_t count = static_cast<int64_t>(host_.size());
  if (!pinned_.defined() || pinned_.numel() < count) pinned_ = device::PinnedEmpty({count + count / 4}, at::kInt);
  std::copy(host_.begin(), host_.end(), pinned_.data_ptr<int32_t>());
  sent_ = device_.Get({count}, at::kInt);
  device::CopyAsync(sent_.data_ptr<int32_t>(), pinned_.const_data_ptr<int32_t>(), host_.size() * sizeof(int32_t));
}

void DeviceBatch::AddSequences(const TrainSequences& sequences) {
  const size_t rows = sequences.token_ids.size();
  std::vector<int32_t> positions(rows), begin(rows), end(rows), starts;
  attention_.rows = static_cast<int64_t>(rows);
  attention_.longest = 0;
  for (const int64_t start : sequences.sequence_starts) starts.push_back(static_cast<int32_t>(start));
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    for (int32_t r = starts[s]; r < starts[s + 1]; ++r) {
      const size_t at = static_cast<size_t>(r);
      positions[at] = r - starts[s];
      begin[at] = starts[s];
      end[at] = starts[s + 1];
    }
    attention_.longest = std::max<int64_t>(attention_.longest, starts[s + 1] - starts[s]);
  }
  tokens_ = upload_.Add(sequences.token_ids);
  positions_ = upload_.Add(std::move(positions));
  row_begin_ = upload_.Add(std::move(begin));
  row_end_ = upload_.Add(std::move(end));
  starts_ = upload_.Add(std::move(starts));
}

void DeviceBatch::AddTokenOrder(const TrainSequences& sequences) {
  const std::vector<TokenId>& tokens = sequences.token_ids;
  std::vector<int32_t> order(tokens.size()), distinct, starts;
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int32_t row) { return tokens[static_cast<size_t>(row)]; });
  for (size_t i = 0; i < order.size(); ++i) {
    const TokenId token = tokens[static_cast<size_t>(order[i])];
    if (!distinct.empty() && distinct.back() == token) continue;
    distinct.push_back(token);
    starts.push_back(static_cast<int32_t>(i));
  }
  starts.push_back(static_cast<int32_t>(order.size()));
  num_distinct_ = static_cast<int64_t>(distinct.size());
  distinct_ = upload_.Add(std::move(distinct));
  distinct_starts_ = upload_.Add(std::move(starts));
  rows_by_token_ = upload_.Add(std::move(order));
}

void DeviceBatch::ExtendRope(int64_t positions) {
  if (cosines_.defined() && positions <= cosines_.size(0)) return;
  rope_.Extend(positions);
  const auto upload = [&](const float* from) {
    const at::Tensor host = at::from_blob(const_cast<float*>(from), {rope_.positions(), rope_.half()}, at::kFloat);
    return host.to(device::TorchDevice(gpu_), /*non_blocking=*/false, /*copy=*/true);
  };
  cosines_ = upload(rope_.cosines(0));
  sines_ = upload(rope_.sines(0));
}

void DeviceBatch::Load(const TrainSequences& sequences) {
  upload_.Begin();
  AddSequences(sequences);
  AddTokenOrder(sequences);
  num_targets_ = static_cast<int64_t>(sequences.targets.size());
  target_rows_ = upload_.Add(sequences.target_rows);
  targets_ = upload_.Add(sequences.targets);
  upload_.Send();
  ExtendRope(attention_.longest);
  const int64_t sequences_count = static_cast<int64_t>(sequences.sequence_starts.size());
  attention_.starts = at::from_blob(const_cast<int32_t*>(upload_.At(starts_)), {sequences_count},
                                    at::TensorOptions().dtype(at::kInt).device(device::TorchDevice(gpu_)));
  attention_.row_begin = upload_.At(row_begin_);
  attention_.row_end = upload_.At(row_end_);
}

}  // namespace tactus
