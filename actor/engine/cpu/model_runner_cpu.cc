#include "actor/engine/cpu/model_runner_cpu.h"

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/cpu/decoder_cpu.h"
#include "common/ops/cpu/sampling.h"

namespace tactus {
namespace {

// Rows of logits that exist at once: at a vocabulary of 150,000 they take 75 MiB.
constexpr size_t kLogitRows = 128;

class ModelRunnerCpu : public ModelRunner {
 public:
  ModelRunnerCpu(std::unique_ptr<DecoderWeightsCpu> weights, int64_t num_pages)
      : weights_(std::move(weights)), decoder_(MakeDecoderCpu(*weights_, num_pages)) {}

  const ModelConfig& config() const override { return weights_->config(); }
  int32_t num_pages() const override { return static_cast<int32_t>(decoder_.cache().num_pages()); }

  absl::Status Execute(const StepPlan& plan, std::span<ops::SampledToken> out) override {
    try {
      for (const PageCopy& copy : plan.copies) decoder_.cache().CopyPage(copy.from, copy.to);
      Forward(decoder_, *weights_, plan.batch, positions_);
      for (size_t first = 0; first < plan.draws.size();) first = DrawRows(plan.draws, first, out);
    } catch (const std::exception& e) {
      return absl::InternalError(
          absl::StrCat("the model failed on a step of ", plan.batch.token_ids.size(), " rows: ", e.what()));
    }
    return absl::OkStatus();
  }

  absl::Status SetWeights(std::span<const float> parameters) override {
    const std::span<float> own = weights_->flat();
    RETURN_IF_ERROR(CheckWeightsSize(parameters.size(), static_cast<int64_t>(own.size())));
    std::copy(parameters.begin(), parameters.end(), own.begin());
    weights_->Pack();
    return absl::OkStatus();
  }

 private:
  // Logits and draws of up to kLogitRows distinct rows from draw `first` on. Returns the first draw not done.
  size_t DrawRows(const std::vector<RowDraw>& draws, size_t first, std::span<ops::SampledToken> out) {
    rows_.clear();
    size_t end = first;
    for (; end < draws.size(); ++end) {
      if (!rows_.empty() && rows_.back() == draws[end].row) continue;
      if (rows_.size() == kLogitRows) break;
      rows_.push_back(draws[end].row);
    }
    const float* logits = decoder_.Logits(weights_->parameters(), rows_.data(), static_cast<int64_t>(rows_.size()));
    const int64_t vocab = config().vocab_size;
    size_t row = 0;
    for (size_t i = first; i < end;) {
      const float* from = logits + static_cast<int64_t>(row) * vocab;
      size_t next = i + 1;
      if (next < end && draws[next].row == draws[i].row) {
        // The first tokens of a group: its draws read copies of one row.
        while (next < end && draws[next].row == draws[i].row && next - i < kLogitRows) ++next;
        repeated_.resize((next - i) * vocab);
        for (size_t k = 0; k < next - i; ++k) std::copy_n(from, vocab, repeated_.data() + k * vocab);
        from = repeated_.data();
        row += next == end || draws[next].row != draws[i].row ? 1 : 0;
      } else {
        while (next < end && Alike(draws, next, i)) ++next;
        row += next - i;
      }
      Sample(from, std::span(draws).subspan(i, next - i), out.subspan(i, next - i));
      i = next;
    }
    return end;
  }

  // Whether draw `next` can join the stretch that starts at `start`: its row is its own, and its kind is the same.
  static bool Alike(const std::vector<RowDraw>& draws, size_t next, size_t start) {
    if (next + 1 < draws.size() && draws[next + 1].row == draws[next].row) return false;
    const bool forced = draws[start].target >= 0;
    return (draws[next].target >= 0) == forced &&
           (!forced || draws[next].params.temperature == draws[start].params.temperature);
  }

  // Draws of one kind (all sampled, or all forced at one temperature) from consecutive rows.
  void Sample(const float* logits, std::span<const RowDraw> draws, std::span<ops::SampledToken> out) {
    if (draws.front().target < 0) {
      params_.clear();
      for (const RowDraw& draw : draws) params_.push_back(draw.params);
      ops::SampleRows(logits, config().vocab_size, params_, out);
      return;
    }
    targets_.clear();
    for (const RowDraw& draw : draws) targets_.push_back(draw.target);
    scores_.resize(draws.size());
    const float temperature = draws.front().params.temperature;
    ops::LogProbRows(logits, config().vocab_size, targets_, temperature > 0 ? temperature : 1.0f, scores_);
    for (size_t i = 0; i < draws.size(); ++i) out[i] = {targets_[i], scores_[i].logprob, scores_[i].entropy};
  }

  const std::unique_ptr<DecoderWeightsCpu> weights_;
  DecoderCpu decoder_;
  // Reused from step to step.
  std::vector<int32_t> positions_;
  std::vector<float> repeated_;
  std::vector<int32_t> rows_, targets_;
  std::vector<ops::SamplingParams> params_;
  std::vector<ops::TokenLogProb> scores_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRunner>> CreateModelRunnerCpu(const ModelFolder& folder,
                                                                  const ModelRunnerOptions& options) {
  ASSIGN_OR_RETURN(const int64_t pages, PagesOf(folder.config, options));
  try {
    ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> weights,
                     options.load_weights ? DecoderWeightsCpu::FromFolder(folder, options.weights_dtype)
                                          : DecoderWeightsCpu::Create(folder.config, options.weights_dtype));
    return std::make_unique<ModelRunnerCpu>(std::move(weights), pages);
  } catch (const std::exception& e) {
    return absl::ResourceExhaustedError(
        absl::StrCat("loading ", folder.path, " with a cache of ", options.kv_cache_mib, " MiB failed: ", e.what()));
  }
}

}  // namespace tactus
