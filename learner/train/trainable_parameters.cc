#include "learner/train/trainable_parameters.h"

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

}  // namespace tactus
