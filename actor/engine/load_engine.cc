#include "actor/engine/load_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "actor/engine/cpu/model_runner_cpu.h"
#include "common/base/status_macros.h"
#ifdef TACTUS_CUDA
#include "actor/engine/cuda/model_runner_cuda.h"
#endif

namespace tactus {

absl::StatusOr<std::unique_ptr<ModelRunner>> CreateModelRunner(const ModelFolder& folder,
                                                               const ModelRunnerOptions& options) {
  if (!options.device.is_gpu()) return CreateModelRunnerCpu(folder, options);
#ifdef TACTUS_CUDA
  return CreateModelRunnerCuda(folder, options);
#else
  return absl::UnimplementedError(
      absl::StrCat("the model was to run on ", options.device.Text(), ", and this build is for CPUs only."));
#endif
}

absl::StatusOr<std::unique_ptr<ModelRunner>> LoadRunner(const ModelFolder& folder, const EngineSetup& setup) {
  const int64_t longest = setup.max_sequence_tokens > 0
                              ? std::min(setup.max_sequence_tokens, folder.config.max_position)
                              : folder.config.max_position;
  // Every running sequence, and as many prompts that wait to start, at full length with a partial page each.
  const int64_t useful = 2 * int64_t{setup.engine.max_sequences} * (longest / kPageTokens + 2);
  return CreateModelRunner(folder, {.weights_dtype = setup.weights_dtype,
                                    .load_weights = setup.load_weights,
                                    .kv_cache_mib = setup.kv_cache_mib,
                                    .max_pages = std::min<int64_t>(useful, int64_t{1} << 30),
                                    .device = setup.device,
                                    .gpu_ways = setup.gpu_ways,
                                    .max_sequences = setup.engine.max_sequences,
                                    .max_step_tokens = setup.engine.max_step_tokens,
                                    .max_sequence_tokens = longest,
                                    .probe = setup.engine.probe});
}

absl::StatusOr<std::unique_ptr<Engine>> LoadEngine(const ModelFolder& folder, const EngineSetup& setup) {
  ASSIGN_OR_RETURN(std::unique_ptr<ModelRunner> runner, LoadRunner(folder, setup));
  return Engine::Create(setup.engine, std::move(runner));
}

}  // namespace tactus
