#include "learner/train/trainable_parameters.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tactus {

absl::Status CheckState(const ParameterState& state, size_t size) {
  const bool moments = !state.first_moment.empty() || !state.second_moment.empty();
  const size_t moment_size = moments ? size : 0;
  if (state.parameters.size() == size && state.first_moment.size() == moment_size &&
      state.second_moment.size() == moment_size)
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("A state of ", state.parameters.size(), " parameters and ",
                                                 state.first_moment.size(), " and ", state.second_moment.size(),
                                                 " moments does not fit a share of ", size, " parameters."));
}

void AppendTensors(const ParameterLayout& layout, const FlatRange& bucket, std::span<const char> bytes, size_t width,
                   std::vector<char>& tensors) {
  for (const ParameterSpec& spec : layout.specs) {
    const int64_t begin = std::max(bucket.begin, spec.offset);
    const int64_t end = std::min(bucket.end, spec.offset + spec.numel);
    if (begin >= end) continue;
    const char* const from = bytes.data() + static_cast<size_t>(begin - bucket.begin) * width;
    tensors.insert(tensors.end(), from, from + static_cast<size_t>(end - begin) * width);
  }
}

}  // namespace tactus
