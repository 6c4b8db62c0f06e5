#include "learner/sft/sft.h"

#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/config/storage_dtype.h"
#include "common/device/host_limits.h"
#include "common/ops/cpu/parallel.h"
#include "learner/sft/sft_data.h"
#include "learner/train/create_policy.h"
#include "learner/train/trainer.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

absl::Status RunSft(const config::RunConfig& config, const Device& device, const std::string& out_dir,
                    const std::function<void(const SftProgress&)>& on_step, const std::function<bool()>& stop) {
  if (IsTaken(out_dir)) return absl::AlreadyExistsError(absl::StrCat(out_dir, " exists already"));
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(config.model().path(), WeightsExpected::kOptional));
  ops::SetThreads(config.learner().threads() > 0 ? config.learner().threads() : OwnHostLimits().cpus);
  ASSIGN_OR_RETURN(const std::unique_ptr<SftData> data, SftData::Create(config, folder.config));
  ASSIGN_OR_RETURN(const std::unique_ptr<Collective> alone, CreateCollective({.device = device.Text()}));
  ASSIGN_OR_RETURN(
      std::unique_ptr<TrainablePolicy> policy,
      CreatePolicy(folder, {.dtype = StorageDTypeOf(config.model().dtype()),
                            .trainable = {.activation_checkpointing = config.learner().activation_checkpointing(),
                                          .logprob_chunk_tokens = config.learner().logprob_chunk_tokens()},
                            .device = device,
                            .seed = config.seed()}));
  ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer,
                   Trainer::Create(TrainerOptions::ForSft(config), std::move(policy), /*reference=*/nullptr, *alone));
  const std::string aside = absl::StrCat(out_dir, ".tmp");
  RETURN_IF_ERROR(MakeFolders(aside));  // what cannot be written is told before the training
  const Clock::time_point start = Clock::now();
  uint64_t place = 0;
  absl::Status ending;
  for (int64_t step = 1; step <= config.sft().steps() && ending.ok() && !stop(); ++step) {
    const Clock::time_point step_start = Clock::now();
    std::vector<SftExample> examples;
    for (int i = 0; i < config.sft().sequences_per_step(); ++i) {
      ASSIGN_OR_RETURN(examples.emplace_back(), data->At(place++));
    }
    ASSIGN_OR_RETURN(const SftStats stats, trainer->SftStep(examples));
    on_step(
        {.step = step,
         .steps = config.sft().steps(),
         .loss = stats.loss,
         .grad_norm = stats.grad_norm,
         .lr = stats.lr,
         .tokens_per_s = static_cast<double>(stats.prompt_tokens + stats.completion_tokens) / SecondsSince(step_start),
         .time_s = SecondsSince(start)});
    ending = trainer->Diverged();
  }
  ASSIGN_OR_RETURN(const ParameterSnapshot state, trainer->policy().state().ReadState());
  RETURN_IF_ERROR(WriteModelFolder(aside, folder, state.parameters, StorageDTypeOf(config.model().dtype())).status());
  RETURN_IF_ERROR(PublishFolder(aside, out_dir));
  return ending;
}

}  // namespace tactus
