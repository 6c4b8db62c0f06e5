#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/cpu/decoder_cpu.h"
#include "tools/batch/score.h"

namespace tactus {
namespace {

class LearnerScorerImpl : public ResponseScorer {
 public:
  LearnerScorerImpl(std::unique_ptr<DecoderWeightsCpu> weights, int batch)
      : weights_(std::move(weights)), trainable_(*weights_, TrainableOptions()), batch_(std::max(1, batch)) {}

  absl::StatusOr<std::vector<std::vector<float>>> Score(std::span<const ScoreItem> items) override {
    std::vector<std::vector<float>> logprobs(items.size());
    for (size_t first = 0; first < items.size(); first += batch_) {
      const size_t count = std::min<size_t>(batch_, items.size() - first);
      RETURN_IF_ERROR(ScorePacked(items.subspan(first, count), first, std::span(logprobs).subspan(first, count)));
    }
    return logprobs;
  }

 private:
  absl::Status Check(const ScoreItem& item, size_t index) const {
    const ModelConfig& config = weights_->config();
    const auto known = [&](TokenId id) { return id >= 0 && id < config.vocab_size; };
    const int64_t tokens = static_cast<int64_t>(item.prompt_ids.size() + item.response_ids.size());
    if (item.prompt_ids.empty() || tokens > config.max_position ||
        !std::all_of(item.prompt_ids.begin(), item.prompt_ids.end(), known) ||
        !std::all_of(item.response_ids.begin(), item.response_ids.end(), known)) {
      return absl::InvalidArgumentError(absl::StrCat("item ", index, ": expected a prompt, at most ",
                                                     config.max_position, " tokens in all, and ids in [0, ",
                                                     config.vocab_size, ")."));
    }
    return absl::OkStatus();
  }

  absl::Status ScorePacked(std::span<const ScoreItem> items, size_t first, std::span<std::vector<float>> out) {
    TrainSequences packed;
    packed.sequence_starts.push_back(0);
    for (size_t i = 0; i < items.size(); ++i) {
      RETURN_IF_ERROR(Check(items[i], first + i));
      const int64_t start = packed.sequence_starts.back();
      const int64_t prompt = static_cast<int64_t>(items[i].prompt_ids.size());
      auto& ids = packed.token_ids;
      ids.insert(ids.end(), items[i].prompt_ids.begin(), items[i].prompt_ids.end());
      ids.insert(ids.end(), items[i].response_ids.begin(), items[i].response_ids.end());
      packed.sequence_starts.push_back(static_cast<int64_t>(ids.size()));
      for (size_t t = 0; t < items[i].response_ids.size(); ++t) {
        packed.target_rows.push_back(static_cast<int32_t>(start + prompt - 1 + static_cast<int64_t>(t)));
        packed.targets.push_back(items[i].response_ids[t]);
      }
    }
    std::vector<float> logprobs(packed.targets.size());
    try {
      trainable_.ForwardOnly(packed, logprobs, {});
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("the model failed on ", packed.token_ids.size(), " rows: ", e.what()));
    }
    auto from = logprobs.begin();
    for (size_t i = 0; i < items.size(); ++i) {
      const auto end = from + static_cast<int64_t>(items[i].response_ids.size());
      out[i].assign(from, end);
      from = end;
    }
    return absl::OkStatus();
  }

  const std::unique_ptr<DecoderWeightsCpu> weights_;
  TrainableDecoderCpu trainable_;
  const int batch_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ResponseScorer>> LearnerScorer(const ModelFolder& folder, StorageDType weights_dtype,
                                                              int batch) {
  ASSIGN_OR_RETURN(std::unique_ptr<DecoderWeightsCpu> weights, DecoderWeightsCpu::FromFolder(folder, weights_dtype));
  return std::make_unique<LearnerScorerImpl>(std::move(weights), batch);
}

}  // namespace tactus
