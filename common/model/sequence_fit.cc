#include "common/model/sequence_fit.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "proto/config.pb.h"

namespace tactus {

absl::Status CheckSequenceFits(const config::RunConfig& run, const ModelConfig& model) {
  const int64_t longest = int64_t{run.rollout().max_prompt_tokens()} + run.rollout().max_completion_tokens();
  if (longest <= model.max_position) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("rollout.max_prompt_tokens + rollout.max_completion_tokens is ",
                                                 longest, ", expected at most the ", model.max_position,
                                                 " positions of the model in ", run.model().path(), "."));
}

}  // namespace tactus
