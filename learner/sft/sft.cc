#include "learner/sft/sft.h"

#include <chrono>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/model/trainable_lm.h"
#include "common/ops/parallel.h"
#include "learner/sft/sft_data.h"
#include "learner/train/adamw.h"
#include "learner/train/options.h"

namespace tactus {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The examples of one step, packed into micro-batches that stay under the token budget.
std::vector<TrainSequences> Pack(const std::vector<SftExample>& examples, int64_t budget_tokens, int64_t* targets) {
  std::vector<TrainSequences> batches;
  for (const SftExample& example : examples) {
    const size_t length = example.prompt.size() + example.response.size();
    if (batches.empty() || batches.back().token_ids.size() + length > static_cast<size_t>(budget_tokens)) {
      batches.emplace_back().sequence_starts.push_back(0);
    }
    TrainSequences& batch = batches.back();
    const size_t first = batch.token_ids.size();
    batch.token_ids.insert(batch.token_ids.end(), example.prompt.begin(), example.prompt.end());
    batch.token_ids.insert(batch.token_ids.end(), example.response.begin(), example.response.end());
    batch.sequence_starts.push_back(static_cast<int64_t>(batch.token_ids.size()));
    for (size_t t = 0; t < example.response.size(); ++t) {
      batch.target_rows.push_back(static_cast<int32_t>(first + example.prompt.size() + t - 1));
      batch.targets.push_back(example.response[t]);
    }
    *targets += static_cast<int64_t>(example.response.size());
  }
  return batches;
}

// Mean negative log-likelihood of the step; its gradient is added to the model's.
double ForwardBackward(TrainableLm& trainable, const std::vector<TrainSequences>& batches, int64_t targets) {
  double loss = 0;
  for (const TrainSequences& batch : batches) {
    std::vector<float> logprobs(batch.targets.size());
    trainable.Forward(batch, logprobs, {});
    for (const float logprob : logprobs) loss -= logprob / static_cast<double>(targets);
    std::vector<float> gradient(logprobs.size(), -1.0f / static_cast<float>(targets));
    trainable.Backward(gradient);
  }
  return loss;
}

absl::StatusOr<std::unique_ptr<DecoderLm>> StartingModel(const config::RunConfig& config, const ModelFolder& folder) {
  const StorageDType dtype = StorageDTypeOf(config.model().dtype());
  if (HasWeights(folder.path)) return DecoderLm::FromFolder(folder, dtype);
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderLm> model, DecoderLm::Create(folder.config, dtype));
  InitialiseParameters(folder.config, folder.layout, config.seed(), model->parameters());
  model->PackWeights();
  return model;
}

}  // namespace

absl::Status RunSft(const config::RunConfig& config, const std::string& out_dir,
                    const std::function<void(const SftProgress&)>& on_step, const std::function<bool()>& stop) {
  if (std::filesystem::exists(out_dir)) return absl::AlreadyExistsError(absl::StrCat(out_dir, " exists already"));
  ASSIGN_OR_RETURN(const ModelFolder folder, OpenModelFolder(config.model().path(), WeightsExpected::kOptional));
  if (folder.config.eos_token_ids.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(folder.path, "/config.json names no eos_token_id"));
  }
  ops::SetThreads(config.learner().threads() > 0 ? config.learner().threads()
                                                 : static_cast<int>(std::thread::hardware_concurrency()));
  ASSIGN_OR_RETURN(const std::unique_ptr<SftData> data, SftData::Create(config, folder.config.eos_token_ids[0]));
  ASSIGN_OR_RETURN(const std::unique_ptr<DecoderLm> model, StartingModel(config, folder));
  TrainableLm trainable(*model, {.activation_checkpointing = config.learner().activation_checkpointing(),
                                 .logprob_chunk_tokens = config.learner().logprob_chunk_tokens()});
  AdamW optimizer(model->layout(), AdamWOptionsOf(config.optimizer()));
  const LrSchedule schedule = LrScheduleOf(config.optimizer(), config.sft().steps());

  const Clock::time_point start = Clock::now();
  uint64_t place = 0;
  for (int64_t step = 0; step < config.sft().steps() && !stop(); ++step) {
    const Clock::time_point step_start = Clock::now();
    std::vector<SftExample> examples;
    for (int i = 0; i < config.sft().sequences_per_step(); ++i) {
      ASSIGN_OR_RETURN(examples.emplace_back(), data->At(place++));
    }
    int64_t targets = 0;
    const std::vector<TrainSequences> batches = Pack(examples, config.learner().micro_batch_tokens(), &targets);
    trainable.ZeroGradients();
    SftProgress progress{.step = step + 1, .steps = config.sft().steps(), .lr = schedule.At(step)};
    progress.loss = ForwardBackward(trainable, batches, targets);
    progress.grad_norm = optimizer.Step(model->parameters(), trainable.gradients(), progress.lr).grad_norm;
    model->PackWeights();
    int64_t tokens = 0;
    for (const TrainSequences& batch : batches) tokens += static_cast<int64_t>(batch.token_ids.size());
    progress.tokens_per_s = static_cast<double>(tokens) / SecondsSince(step_start);
    progress.time_s = SecondsSince(start);
    on_step(progress);
  }
  const std::string aside = absl::StrCat(out_dir, ".tmp");
  RETURN_IF_ERROR(WriteModelFolder(aside, folder, model->parameters(), StorageDTypeOf(config.model().dtype())));
  return PublishFolder(aside, out_dir);
}

}  // namespace tactus
