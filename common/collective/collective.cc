#include "common/collective/collective.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {

Slice SliceOf(size_t count, int size, int rank) {
  const size_t each = (count + static_cast<size_t>(size) - 1) / static_cast<size_t>(size);
  const size_t begin = std::min(count, each * static_cast<size_t>(rank));
  return {begin, std::min(count, begin + each)};
}

absl::Status Collective::AllGather(std::span<const double> mine, std::span<double> all) {
  if (all.size() != mine.size() * static_cast<size_t>(size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("AllGather: ", all.size(), " values are not ", size(), " times ", mine.size(), "."));
  }
  std::ranges::copy(mine, all.begin() + static_cast<std::ptrdiff_t>(mine.size()) * rank());
  RETURN_IF_ERROR(StartAllGather({reinterpret_cast<char*>(all.data()), all.size_bytes()}, sizeof(double)));
  return Wait();
}

}  // namespace tactus
