#include "common/weights/delta/delta_set.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/weights/delta/rans.h"
#include "common/weights/delta/weight_delta.h"

namespace tactus {
namespace {

// A change costs a byte or more; beyond this part of changed numbers a delta is no candidate.
constexpr double kMostChanged = 0.5;

size_t BlockCount(size_t elements) { return (elements + kDeltaBlockElements - 1) / kDeltaBlockElements; }

template <typename Number>
std::span<Number> Block(std::span<Number> numbers, size_t i) {
  const size_t begin = i * kDeltaBlockElements;
  return numbers.subspan(begin, std::min(kDeltaBlockElements, numbers.size() - begin));
}

}  // namespace

std::optional<std::string> EncodeDelta(std::span<const uint16_t> before, std::span<const uint16_t> after,
                                       SplitFn split) {
  if (ChangedFraction(before, after) > kMostChanged) return std::nullopt;
  std::vector<std::string> blocks(BlockCount(before.size()));
  split(static_cast<int64_t>(blocks.size()), [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      blocks[i] = EncodeDeltaBlock(Block(before, i), Block(after, i));
    }
  });
  std::string delta;
  for (const std::string& block : blocks) AppendSized(block, delta);
  if (delta.size() > before.size_bytes() / 2) return std::nullopt;
  return delta;
}

absl::Status ApplyDelta(absl::string_view delta, std::span<uint16_t> numbers) {
  for (size_t i = 0; i < BlockCount(numbers.size()); ++i) {
    ASSIGN_OR_RETURN(const absl::string_view block, TakeSized(delta));
    RETURN_IF_ERROR(ApplyDeltaBlock(block, Block(numbers, i)));
  }
  if (delta.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("weight delta: ", delta.size(), " bytes follow its last block"));
}

}  // namespace tactus
