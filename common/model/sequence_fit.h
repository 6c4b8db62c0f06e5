// Whether a model is made for the sequences of a run. Pure; thread-safe.
#pragma once

#include "absl/status/status.h"
#include "common/config/config_fwd.h"
#include "common/model/folder/model_config.h"

namespace tactus {

// InvalidArgument: a prompt and a completion of the greatest lengths have more tokens than the model has positions.
absl::Status CheckSequenceFits(const config::RunConfig& run, const ModelConfig& model);

}  // namespace tactus
