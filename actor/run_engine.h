// The engine that an actor of a run samples with.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "actor/engine/engine.h"
#include "common/config/config_fwd.h"
#include "common/device/device_spec.h"
#include "common/model/folder/hf_folder.h"
#include "common/rhythm/credit_assigner.h"

namespace tactus {

// Without weights: the learner sends them. Measures what `credit` reads. Blocks while memory is taken; the errors of
// LoadEngine and CreditAssigner::Probe.
absl::StatusOr<std::unique_ptr<Engine>> MakeRunEngine(const config::RunConfig& run, const ModelFolder& folder,
                                                      const CreditAssigner& credit, const Device& device);

}  // namespace tactus
