#include "actor/engine/engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/rhythm/rhythm.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options,
                                                       std::unique_ptr<ModelRunner> runner) {
  if (!options.probe.layers.empty()) {
    RETURN_IF_ERROR(RhythmLayers(options.probe.layers, runner->config().num_layers).status());
  }
  const ModelConfig& model = runner->config();
  if ((options.probe.ignore_first_token || options.probe.flow_row_entries > 0) && !runner->FillsEveryTap()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.probe.flow_row_entries > 0 ? "credit.strategy: FLOW" : "credit.ignore_first_token",
                     " is measured on a CPU only: expected actor.device: \"cpu\"."));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Scheduler> scheduler,
                   Scheduler::Create({options, model.max_position, static_cast<int32_t>(model.vocab_size),
                                      runner->num_pages(), model.num_heads}));
  return std::unique_ptr<Engine>(new Engine(std::move(scheduler), std::move(runner)));
}

Engine::Engine(std::unique_ptr<Scheduler> scheduler, std::unique_ptr<ModelRunner> runner)
    : scheduler_(std::move(scheduler)), runner_(std::move(runner)) {}

absl::StatusOr<std::span<FinishedCompletion>> Engine::Step() {
  finished_.clear();
  if (scheduler_->idle()) return std::span<FinishedCompletion>();
  const StepPlan& plan = scheduler_->Plan();
  if (plan.empty() && scheduler_->waiting_turns() > 0) return std::span<FinishedCompletion>();
  if (plan.empty()) return absl::InternalError("the scheduler has requests and planned no work for them.");
  sampled_.resize(plan.draws.size());
  RETURN_IF_ERROR(runner_->Execute(plan, sampled_));
  scheduler_->Commit(sampled_, version_, finished_);
  return std::span<FinishedCompletion>(finished_);
}

void Engine::UseFlowHeads(const HeadClasses* classes) {
  scheduler_->UseFlowHeads(classes == nullptr ? std::make_shared<const FlowHeads>(sampled_heads())
                                              : std::make_shared<const FlowHeads>(sampled_heads(), classes->global));
}

absl::Status Engine::SwapWeights(PolicyVersion version, std::span<const float> parameters) {
  RETURN_IF_ERROR(runner_->SetWeights(parameters));
  version_ = version;
  return absl::OkStatus();
}

absl::Status Engine::UseStagedWeights(PolicyVersion version) {
  RETURN_IF_ERROR(runner_->UseStagedWeights());
  version_ = version;
  return absl::OkStatus();
}

}  // namespace tactus
