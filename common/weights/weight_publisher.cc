#include "common/weights/weight_publisher.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/finite.h"
#include "common/base/sha256.h"
#include "common/base/thread.h"
#include "common/data/codec.h"
#include "common/weights/delta/delta_set.h"

namespace tactus {
namespace {

void ConvertTo(std::span<const float> values, StorageDType dtype, char* out) {
  if (dtype == StorageDType::kFloat32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  for (const float value : values) {
    const uint16_t bits = FloatToBFloat16(value);
    std::memcpy(out, &bits, sizeof(bits));
    out += sizeof(bits);
  }
}

template <typename T>
std::span<const T> As(absl::string_view bytes) {
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

// Calls fn(begin, end) on pieces that cover [0, count), on up to `threads` threads; what the system gives no thread
// for, the caller does.
void Split(int threads, int64_t count, absl::FunctionRef<void(int64_t, int64_t)> fn) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) fn(i, i + 1);
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < std::min<int64_t>(threads, count); ++t) {
    absl::StatusOr<std::thread> thread = StartThread("publishing weights", work);
    if (!thread.ok()) break;
    others.push_back(*std::move(thread));
  }
  work();
  for (std::thread& thread : others) thread.join();
}

// What leads from `last` to `next`; null where there is no last set of that kind, or a delta would not pay.
std::shared_ptr<const WeightDelta> DeltaBetween(const WeightSnapshot* last, const WeightSnapshot& next, int threads) {
  const bool alike = last != nullptr && next.manifest.dtype == StorageDType::kBFloat16 &&
                     last->manifest.dtype == next.manifest.dtype && last->bytes->size() == next.bytes->size();
  if (!alike) return nullptr;
  std::optional<std::string> bytes = EncodeDelta(
      As<uint16_t>(View(*last->bytes)), As<uint16_t>(View(*next.bytes)),
      [threads](int64_t count, absl::FunctionRef<void(int64_t, int64_t)> fn) { Split(threads, count, fn); });
  if (!bytes.has_value()) return nullptr;
  return std::make_shared<WeightDelta>(
      WeightDelta{.from = last->manifest.version, .to = next.manifest.version, .bytes = *std::move(bytes)});
}

// The manifest's entry of each tensor, several at a time.
absl::StatusOr<std::vector<WeightManifest::Tensor>> Describe(const ParameterLayout& layout, absl::string_view bytes,
                                                             StorageDType dtype, int threads) {
  std::vector<WeightManifest::Tensor> tensors(layout.specs.size());
  std::vector<absl::string_view> data;
  for (const ParameterSpec& spec : layout.specs) {
    data.push_back(bytes.substr(0, static_cast<size_t>(spec.numel * BytesPerElement(dtype))));
    bytes.remove_prefix(data.back().size());
  }
  std::vector<std::optional<std::string>> bad(tensors.size());
  Split(threads, static_cast<int64_t>(tensors.size()), [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      bad[i] =
          dtype == StorageDType::kFloat32 ? FindNonFinite(As<float>(data[i])) : FindNonFinite(As<uint16_t>(data[i]));
      tensors[i] = {layout.specs[i].name, layout.specs[i].shape, data[i].size(), Sha256Hex(data[i])};
    }
  });
  for (size_t i = 0; i < bad.size(); ++i) {
    if (!bad[i].has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat("tensor ", tensors[i].name, " holds ", *bad[i]));
  }
  return tensors;
}

uint64_t TotalBytes(const ParameterLayout& layout, StorageDType dtype) {
  uint64_t total = 0;
  for (const ParameterSpec& spec : layout.specs) total += static_cast<uint64_t>(spec.numel * BytesPerElement(dtype));
  return total;
}

}  // namespace

std::vector<char> EncodeWeights(const ParameterLayout& layout, std::span<const float> flat, StorageDType dtype,
                                std::vector<char> room) {
  room.resize(TotalBytes(layout, dtype));
  char* out = room.data();
  for (const ParameterSpec& spec : layout.specs) {
    ConvertTo(flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel)), dtype, out);
    out += spec.numel * BytesPerElement(dtype);
  }
  return room;
}

absl::Status WeightPublisher::Publish(PolicyVersion version, const ParameterLayout& layout, WeightBytes bytes,
                                      StorageDType dtype, std::optional<HeadClasses> head_classes,
                                      std::optional<SharedWeights> shared) {
  if (bytes->size() != TotalBytes(layout, dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights to publish: ", bytes->size(), " bytes are given for ", TotalBytes(layout, dtype)));
  }
  auto snapshot = std::make_shared<WeightSnapshot>();
  WeightManifest& manifest = snapshot->manifest;
  manifest.run_id = run_id_;
  manifest.version = version;
  manifest.dtype = dtype;
  manifest.head_classes = std::move(head_classes);
  manifest.shared = std::move(shared);
  manifest.total_bytes = bytes->size();
  snapshot->bytes = std::move(bytes);
  absl::StatusOr<std::vector<WeightManifest::Tensor>> tensors =
      Describe(layout, View(*snapshot->bytes), dtype, threads_);
  if (!tensors.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("weights of version ", VersionName(version), ": ", tensors.status().message()));
  }
  manifest.tensors = *std::move(tensors);
  const std::shared_ptr<const WeightSnapshot> last = Newest();
  std::shared_ptr<const WeightDelta> delta = max_deltas_ > 0 ? DeltaBetween(last.get(), *snapshot, threads_) : nullptr;
  absl::MutexLock lock(&mu_);
  if (newest_ != nullptr && version <= newest_->manifest.version) {
    return absl::FailedPreconditionError(absl::StrCat("weights of version ", VersionName(version),
                                                      " cannot follow version ",
                                                      VersionName(newest_->manifest.version)));
  }
  const bool follows = delta != nullptr && newest_ == last;  // else another Publish came between
  if (!follows) deltas_.clear();
  if (follows) deltas_.push_back(std::move(delta));
  if (deltas_.size() > max_deltas_) deltas_.pop_front();
  newest_ = std::move(snapshot);
  return absl::OkStatus();
}

std::shared_ptr<const WeightSnapshot> WeightPublisher::Newest() const {
  absl::MutexLock lock(&mu_);
  return newest_;
}

uint64_t WeightPublisher::NewestDeltaBytes() const {
  absl::MutexLock lock(&mu_);
  return deltas_.empty() ? 0 : deltas_.back()->bytes.size();
}

WeightOffer WeightPublisher::OfferTo(std::optional<PolicyVersion> held) const {
  absl::MutexLock lock(&mu_);
  WeightOffer offer{.snapshot = newest_, .deltas = {}};
  const auto first = std::ranges::find_if(deltas_, [&](const auto& delta) { return held == delta->from; });
  uint64_t bytes = 0;
  for (auto it = first; it != deltas_.end(); ++it) bytes += (*it)->bytes.size();
  if (first != deltas_.end() && bytes <= newest_->manifest.total_bytes / 2) offer.deltas.assign(first, deltas_.end());
  return offer;
}

absl::StatusOr<std::optional<WeightFeed>> WeightPublisher::FeedFor(const WeightWish& wish) const {
  const WeightOffer offer = OfferTo(wish.held);
  if (offer.snapshot == nullptr) return absl::UnavailableError("no weights are published yet");
  WeightFeed feed{.manifest = offer.snapshot->manifest, .pieces = {}};
  if (feed.manifest.version < wish.at_least) {
    return absl::UnavailableError(absl::StrCat("the newest weights are of version ", VersionName(feed.manifest.version),
                                               ", older than ", VersionName(wish.at_least)));
  }
  for (const std::shared_ptr<const WeightDelta>& delta : offer.deltas) {
    if (!feed.manifest.delta.has_value()) feed.manifest.delta.emplace().base = delta->from;
    feed.manifest.delta->bytes.push_back(delta->bytes.size());
    feed.pieces.push_back({.keeps = delta, .bytes = delta->bytes, .arrival = nullptr});
  }
  if (offer.deltas.empty()) {
    feed.pieces.push_back({.keeps = offer.snapshot, .bytes = View(*offer.snapshot->bytes), .arrival = nullptr});
  }
  return feed;
}

}  // namespace tactus
