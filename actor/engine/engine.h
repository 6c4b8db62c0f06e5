// Samples completions: a scheduler and a model runner, stepped by one thread.
//
//   engine->Add(request);  while (!engine->idle()) for (auto& done : *engine->Step()) …
//
// What a request gets depends on the weights and on the request alone: not on what else is in the batch, on
// preemption, or on the options below. Weights change only between two steps; sequences in flight go on, their
// version spans tell which token is whose, and the cache keeps what older weights computed.
//
// Owned by one thread, but for Stage*. Step blocks for one forward pass; nothing else blocks. Memory is bounded by the
// options.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "actor/engine/model_runner.h"
#include "actor/engine/request.h"
#include "actor/engine/scheduler.h"

namespace tactus {

class Engine {
 public:
  // InvalidArgument names the option that cannot work.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        std::unique_ptr<ModelRunner> runner);

  // See Scheduler::Add and Cancel for the errors.
  absl::Status Add(EngineRequest request) { return scheduler_->Add(std::move(request)); }
  absl::Status Cancel(uint64_t request_id) { return scheduler_->Cancel(request_id); }
  // Of a conversation; see Scheduler.
  absl::Status Continue(uint64_t request_id, int completion_index, std::span<const TokenId> token_ids) {
    return scheduler_->Continue(request_id, completion_index, token_ids);
  }
  absl::StatusOr<FinishedCompletion> Conclude(uint64_t request_id, int completion_index) {
    return scheduler_->Conclude(request_id, completion_index);
  }
  std::vector<EndedTurn> TakeEndedTurns() { return scheduler_->TakeEndedTurns(); }

  // One step. The completions it finished; valid until the next call. Empty at once when idle: there are no requests,
  // or what is left of them waits for Continue or Conclude. Internal: the model failed; the engine is not usable
  // afterwards.
  absl::StatusOr<std::span<FinishedCompletion>> Step();

  // From the next step on, `parameters` (in ParameterLayout order) sample, under the name `version`.
  absl::Status SwapWeights(PolicyVersion version, std::span<const float> parameters);
  // The same in two halves; the first may be another thread's (ModelRunner).
  absl::Status StageWeights(std::vector<float> parameters) { return runner_->StageWeights(std::move(parameters)); }
  absl::Status StageSharedWeights(const SharedWeights& weights) { return runner_->StageSharedWeights(weights); }
  absl::Status UseStagedWeights(PolicyVersion version);

  // From the next step on, these are the heads whose mean attention is kept where the probe keeps it for the flow: the
  // global ones of `classes`. Null, and until this is called: all that are sampled.
  void UseFlowHeads(const HeadClasses* classes);

  int64_t sampled_heads() const { return scheduler_->sampled_heads(); }  // H of the probe
  int max_sequences() const { return scheduler_->max_sequences(); }      // any thread
  bool idle() const { return scheduler_->idle(); }
  bool full() const { return scheduler_->full(); }
  PolicyVersion version() const { return version_; }
  const ModelConfig& config() const { return runner_->config(); }
  SchedulerStats stats() const { return scheduler_->stats(); }

 private:
  Engine(std::unique_ptr<Scheduler> scheduler, std::unique_ptr<ModelRunner> runner);

  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<ModelRunner> runner_;
  PolicyVersion version_;
  std::vector<ops::SampledToken> sampled_;    // reused
  std::vector<FinishedCompletion> finished_;  // reused
};

}  // namespace tactus
