#include "actor/engine/cuda/model_runner_cuda.h"

#include <algorithm>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "actor/engine/cuda/device_io_cuda.h"
#include "actor/engine/cuda/device_step.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/device/runtime_cuda.h"
#include "common/model/cuda/decoder_cuda.h"
#include "common/model/cuda/staged_weights_cuda.h"
#include "common/ops/cuda/sampling_cuda.h"
#include "common/ops/step_sizes.h"
#include "common/weights/shared_weights_cuda.h"

namespace tactus {
namespace {

// Shapes of steps that are remembered; beyond them all are forgotten and recorded again.
constexpr size_t kMostShapes = 256;

class ModelRunnerCudaImpl : public ModelRunnerCuda {
 public:
  ModelRunnerCudaImpl(const ModelConfig& config, const ModelRunnerOptions& options, const ModelRunnerCudaOptions& cuda,
                      int gpu, int64_t pages)
      : options_(options),
        logit_rows_(std::max<int64_t>(1, options.max_sequences)),
        cuda_(cuda),
        use_graphs_(options.gpu_ways.graphs),
        queue_(gpu),
        weights_(config, options.weights_dtype, gpu),
        import_(gpu),
        decoder_(config, ops::CudaBackend(options.weights_dtype, gpu, options.gpu_ways.flash_attention),
                 ops::KvCacheCuda(AttentionShapeOf(config), options.weights_dtype, config.num_layers, pages, gpu)),
        io_(gpu) {
    const int64_t table_pages = ops::TablePages(options.max_sequence_tokens);
    const int64_t heads = static_cast<int64_t>(options.probe.layers.size()) * config.num_heads;
    decoder_.Reserve({.rows = options.max_step_tokens,
                      .decode_rows = options.max_sequences,
                      .table_pages = table_pages,
                      .logit_rows = logit_rows_,
                      .positions = config.max_position});
    io_.Prepare({.rows = options.max_step_tokens,
                 .decode_rows = options.max_sequences,
                 .runs = options.max_sequences,
                 .table_pages = table_pages,
                 .draws = options.max_step_tokens,
                 .heads = heads,
                 .fai_tokens = heads > 0 ? ops::FaiTokens(options.probe, options.max_sequence_tokens) : 0});
  }

  const ModelConfig& config() const override { return decoder_.config(); }
  int32_t num_pages() const override { return static_cast<int32_t>(decoder_.cache().num_pages()); }
  bool FillsEveryTap() const override { return false; }
  ModelRunnerCudaStats stats() const override { return stats_; }

  absl::Status Execute(const StepPlan& plan, std::span<ops::SampledToken> out) override {
    try {
      const device::QueueGuard guard(queue_);
      CopyPages(plan.copies);
      PlanDeviceStep(plan, cuda_.fewest_rows, options_.max_sequences, step_);
      Run(plan);
      device::Synchronize();
      io_.Read(step_, plan, out);
    } catch (const std::exception& e) {
      return absl::InternalError(
          absl::StrCat("the model failed on a step of ", plan.batch.token_ids.size(), " rows: ", e.what()));
    }
    ++stats_.steps;
    return absl::OkStatus();
  }

  absl::Status SetWeights(std::span<const float> parameters) override {
    RETURN_IF_ERROR(Stage(parameters));
    return UseStagedWeights();
  }
  absl::Status StageWeights(std::vector<float> parameters) override { return Stage(parameters); }
  absl::Status StageSharedWeights(const SharedWeights& weights) override {
    if (weights.elements != static_cast<uint64_t>(weights_.layout().total_numel) || weights.dtype != weights_.dtype()) {
      return absl::InvalidArgumentError("the learner shares weights of another size or type than this model's");
    }
    return Staged([&] { return weights_.StageBy([&](void* flat) { return import_.CopyTo(weights, flat); }); });
  }
  absl::Status UseStagedWeights() override {
    if (!weights_.Use()) return absl::FailedPreconditionError("no weights are staged");
    return absl::OkStatus();
  }

 private:
  absl::Status Stage(std::span<const float> parameters) {
    RETURN_IF_ERROR(CheckWeightsSize(parameters.size(), weights_.layout().total_numel));
    return Staged([&] {
      weights_.Stage(parameters);
      return absl::OkStatus();
    });
  }

  static absl::Status Staged(absl::FunctionRef<absl::Status()> stage) {
    try {
      return stage();
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("bringing new weights to the GPU failed: ", e.what()));
    }
  }

  void CopyPages(const std::vector<PageCopy>& copies) {
    size_t begin = 0;
    for (const size_t end : IndependentCopies(copies)) {
      while (begin < end) {
        pairs_.clear();
        for (; begin < end && static_cast<int64_t>(pairs_.size()) < ops::KvCacheCuda::kMostPairs; ++begin) {
          pairs_.push_back({copies[begin].from, copies[begin].to});
        }
        decoder_.cache().CopyPages(pairs_);
      }
    }
  }

  // Enqueues the step's work, by hand or by replaying it.
  void Run(const StepPlan& plan) {
    const StepShape shape = ShapeOf(step_, plan, config().num_heads);
    const bool decoder_moved = decoder_.Reserve({.rows = shape.rows,
                                                 .decode_rows = shape.decode_rows,
                                                 .table_pages = shape.table_pages,
                                                 .logit_rows = step_.recurring ? shape.rows : logit_rows_});
    const bool io_moved = io_.Prepare(shape);
    if (decoder_moved || io_moved) graphs_.clear();
    io_.Fill(step_, plan);
    const auto enqueue = [&] { Enqueue(plan, shape); };
    if (!use_graphs_ || !step_.recurring) return enqueue();
    if (graphs_.size() >= kMostShapes) graphs_.clear();
    const auto [found, first_time] = graphs_.try_emplace({weights_.current_set(), shape});
    if (first_time) return enqueue();  // libraries make what they keep in this first run
    if (!Replay(enqueue, found->second)) enqueue();
  }

  // False: nothing was enqueued, and there will be no more graphs.
  bool Replay(absl::FunctionRef<void()> enqueue, device::Graph& graph) {
    try {
      if (!graph.recorded()) {
        graph.Record(enqueue);
        ++stats_.recorded_graphs;
      }
      graph.Launch();
      ++stats_.replayed_steps;
      return true;
    } catch (const std::exception& e) {
      const std::string text = e.what();  // of libtorch: a stack follows
      TACTUS_LOG(WARNING) << "steps are no longer recorded as CUDA graphs, so each takes longer: "
                          << text.substr(0, text.find('\n'));
      use_graphs_ = false;
      graphs_.clear();
      return false;
    }
  }

  void Enqueue(const StepPlan& plan, const StepShape& shape) {
    const DecoderParameters<ops::CudaBackend>* const parameters = weights_.current();
    if (parameters == nullptr) throw std::logic_error("a decoder runs before it has weights");
    io_.Upload();
    decoder_.Forward(*parameters, io_.Batch(step_, plan), config().max_position);
    if (!step_.recurring) {
      DrawChosen(*parameters, plan.draws);
    } else if (shape.kind != DrawKind::kNone) {
      Draw(shape.kind, shape.forced_temperature, 0, shape.rows, decoder_.Logits(*parameters, nullptr, shape.rows));
    }
    io_.Download();
  }

  // Draws [first, first + count) of one kind, from consecutive rows of logits.
  void Draw(DrawKind kind, float temperature, int64_t first, int64_t count, const float* logits) {
    const int64_t vocab = config().vocab_size;
    if (kind == DrawKind::kSample) {
      ops::cuda::SampleRows(logits, count, vocab, io_.params() + first, io_.sampled() + first);
    } else {
      ops::cuda::LogProbRows(logits, count, vocab, io_.targets() + first, temperature, io_.scores() + first);
    }
  }

  // A row of logits for each draw, as many at a time as a step of decode rows has, cut where the kind of draw changes.
  void DrawChosen(const DecoderParameters<ops::CudaBackend>& parameters, const std::vector<RowDraw>& draws) {
    for (size_t chunk = 0, end = 0; chunk < draws.size(); chunk = end) {
      end = std::min(draws.size(), chunk + static_cast<size_t>(logit_rows_));
      const float* const logits =
          decoder_.Logits(parameters, io_.draw_rows() + chunk, static_cast<int64_t>(end - chunk));
      for (size_t first = chunk, next = chunk; first < end; first = next) {
        while (next < end && DrawnAlike(draws[next], draws[first])) ++next;
        Draw(draws[first].target < 0 ? DrawKind::kSample : DrawKind::kForce, ForcedTemperature(draws[first]),
             static_cast<int64_t>(first), static_cast<int64_t>(next - first),
             logits + static_cast<int64_t>(first - chunk) * config().vocab_size);
      }
    }
  }

  const ModelRunnerOptions options_;
  const int64_t logit_rows_;
  const ModelRunnerCudaOptions cuda_;
  bool use_graphs_;
  device::Queue queue_;
  StagedWeightsCuda weights_;
  SharedWeightImport import_;  // the staging thread's
  DecoderCuda decoder_;
  StepIo io_;
  DeviceStep step_;
  std::vector<ops::PagePair> pairs_;
  // Recorded the second time a shape comes; a graph has the addresses of one set of weights in it.
  std::map<std::pair<int, StepShape>, device::Graph> graphs_;
  ModelRunnerCudaStats stats_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunnerCuda>> CreateModelRunnerCuda(const ModelFolder& folder,
                                                                       const ModelRunnerOptions& options,
                                                                       const ModelRunnerCudaOptions& cuda) {
  RETURN_IF_ERROR(CheckDecoderShapeCuda(folder.config));
  ASSIGN_OR_RETURN(const int64_t pages, PagesOf(folder.config, options));
  try {
    const int gpu = options.device.gpu.value_or(0);
    std::unique_ptr<ModelRunnerCuda> runner;
    {
      const device::QueueGuard guard(gpu);
      runner = std::make_unique<ModelRunnerCudaImpl>(folder.config, options, cuda, gpu, pages);
      device::Synchronize();
    }
    if (!options.load_weights) return runner;
    std::vector<float> parameters(static_cast<size_t>(folder.layout.total_numel));
    RETURN_IF_ERROR(LoadParameters(folder, parameters));
    RETURN_IF_ERROR(runner->SetWeights(parameters));
    return runner;
  } catch (const std::exception& e) {
    return absl::ResourceExhaustedError(absl::StrCat("loading ", folder.path, " to ", options.device.Text(),
                                                     " with a cache of ", options.kv_cache_mib,
                                                     " MiB failed: ", e.what()));
  }
}

}  // namespace tactus
