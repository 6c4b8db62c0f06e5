// Supervised warm start: trains a policy on worked answers with the same model and optimizer as the learner.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "common/config/config_fwd.h"
#include "common/device/device_spec.h"

namespace tactus {

struct SftProgress {
  int64_t step = 0;
  int64_t steps = 0;
  double loss = 0;  // mean negative log-likelihood of the response tokens, nats
  double grad_norm = 0;
  double lr = 0;
  double tokens_per_s = 0;
  double time_s = 0;
};

// Trains config.model (fresh weights when the folder has none) on `device` for config.sft.steps and writes a Hugging
// Face folder to `out_dir`, visible only when complete. `on_step` runs after every step; `stop`, polled between steps,
// ends early and still writes the folder. Blocking; uses config.learner.threads. InvalidArgument: configuration or
// data; AlreadyExists: out_dir exists; the errors of CreatePolicy.
absl::Status RunSft(const config::RunConfig& config, const Device& device, const std::string& out_dir,
                    const std::function<void(const SftProgress&)>& on_step, const std::function<bool()>& stop);

}  // namespace tactus
