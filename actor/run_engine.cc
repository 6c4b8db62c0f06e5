#include "actor/run_engine.h"

#include "actor/engine/load_engine.h"
#include "common/base/status_macros.h"
#include "common/config/storage_dtype.h"
#include "proto/config.pb.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<Engine>> MakeRunEngine(const config::RunConfig& run, const ModelFolder& folder,
                                                      const CreditAssigner& credit, const Device& device) {
  EngineSetup setup;
  setup.device = device;
  setup.gpu_ways = {.graphs = run.gpu().graphs(), .flash_attention = run.gpu().flash_attention()};
  if (credit.MeasuresAttention()) {
    ASSIGN_OR_RETURN(setup.engine.probe, credit.Probe(folder.config.num_layers, folder.config.num_heads));
  }
  setup.weights_dtype = StorageDTypeOf(run.model().dtype());
  setup.load_weights = false;  // the learner sends them
  setup.engine.max_sequences = run.actor().max_sequences();
  setup.engine.max_step_tokens = run.actor().max_step_tokens();
  setup.engine.max_waiting_groups = run.actor().max_leases();
  setup.kv_cache_mib = run.actor().kv_cache_mib();
  setup.max_sequence_tokens = int64_t{run.rollout().max_prompt_tokens()} + run.rollout().max_completion_tokens();
  return LoadEngine(folder, setup);
}

}  // namespace tactus
