#include "bench/profile/passes.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>

#include "bench/profile/timed_weights.h"
#include "bench/step_case.h"
#include "common/collective/collective.h"
#include "common/model/decoder_impl.h"
#include "common/model/trainable_backward_impl.h"
#include "common/ops/cpu/sampling.h"
#include "learner/train/adamw.h"

namespace tactus {
namespace {

constexpr int64_t kCachedBytes = 12'000'000;  // weights below it come from the cache in every step

int64_t BytesOf(const DecoderWeightsCpu& weights) {
  return weights.layout().total_numel * BytesPerElement(weights.dtype());
}

int64_t PageFaults() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// A whole decode step.
class DecodeStep {
 public:
  DecodeStep(DecoderWeightsCpu& weights, int64_t batch, int64_t context)
      : config_(weights.config()),
        timed_(weights, recorder_),
        tables_(PageTables(batch, context + 1)),
        decoder_(config_, timed_.backend(),
                 ops::KvCacheCpu(AttentionShapeOf(config_), weights.dtype(), config_.num_layers,
                                 batch * static_cast<int64_t>(tables_.front().size()))),
        context_(context) {
    FillCache(weights.dtype());
    std::minstd_rand random(5);
    for (int64_t i = 0; i < batch; ++i) {
      tokens_.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(config_.vocab_size)));
      runs_.push_back({i, 1, context, tables_[static_cast<size_t>(i)]});
      params_.push_back({.uniform = static_cast<double>(random() % 1000) / 1000});
      rows_.push_back(static_cast<int32_t>(i));
    }
    positions_.assign(tokens_.size(), static_cast<int32_t>(context));
    sampled_.resize(tokens_.size());
  }

  void Run() {
    const auto rows = static_cast<int64_t>(tokens_.size());
    decoder_.Forward(
        timed_.parameters(),
        {.num_rows = rows, .token_ids = tokens_.data(), .rotary = {.positions = positions_.data()}, .runs = runs_},
        context_ + 1);
    const float* logits = decoder_.Logits(timed_.parameters(), rows_.data(), rows);
    recorder_.Time("sampling", {.cache_bytes = 4.0 * static_cast<double>(rows * config_.vocab_size)},
                   [&] { ops::SampleRows(logits, config_.vocab_size, params_, sampled_); });
  }
  Recorder& recorder() { return recorder_; }

 private:
  // The same page of numbers everywhere: a step reads each from memory all the same.
  void FillCache(StorageDType dtype) {
    const int64_t bytes = KvPageBytes(AttentionShapeOf(config_), dtype, 1) / 2, pages = decoder_.cache().num_pages();
    std::vector<float> page(static_cast<size_t>(bytes / 4));
    FillUniform(page, 1, 6);
    if (dtype == StorageDType::kBFloat16) {
      std::vector<uint16_t> halves;
      for (const float x : page) halves.insert(halves.end(), 2, FloatToBFloat16(x));
      std::memcpy(page.data(), halves.data(), static_cast<size_t>(bytes));
    }
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const ops::PagedKeysValues at = decoder_.cache().layer(layer);
      for (int64_t i = 0; i < pages; ++i) {
        std::memcpy(static_cast<char*>(at.keys) + i * bytes, page.data(), static_cast<size_t>(bytes));
        std::memcpy(static_cast<char*>(at.values) + i * bytes, page.data(), static_cast<size_t>(bytes));
      }
    }
  }

  const ModelConfig config_;
  Recorder recorder_;
  DecoderWeights<TimedBackend> timed_;
  std::vector<std::vector<int32_t>> tables_;
  Decoder<TimedBackend> decoder_;
  const int64_t context_;
  std::vector<int32_t> tokens_, rows_, positions_;
  std::vector<SequenceRun> runs_;
  std::vector<ops::SamplingParams> params_;
  std::vector<ops::SampledToken> sampled_;
};

// Answers to one prompt, which they share but for its last token, as learner/train/packing.h packs them.
TrainSequences OneGroup(int64_t prompt, int64_t answers, int64_t tokens, int64_t vocab) {
  TrainSequences out;
  out.sequence_starts = {0};
  std::minstd_rand random(9);
  for (int64_t a = 0; a < answers; ++a) {
    const int64_t shared = a == 0 ? 0 : prompt - 1, own = prompt + tokens - 1 - shared;
    const int64_t first = out.sequence_starts.back();
    for (int64_t i = 0; i < own; ++i) {
      out.token_ids.push_back(static_cast<TokenId>(random() % static_cast<uint32_t>(vocab)));
      if (i + tokens < own) continue;
      out.target_rows.push_back(static_cast<int32_t>(first + i));
      out.targets.push_back(static_cast<TokenId>(random() % static_cast<uint32_t>(vocab)));
    }
    out.sequence_starts.push_back(first + own);
    out.shared_tokens.push_back(shared);
  }
  return out;
}

// A whole update by one rank.
class Update {
 public:
  explicit Update(DecoderWeightsCpu& weights)
      : weights_(weights),
        timed_(weights, recorder_),
        decoder_(timed_, {}),
        sequences_(OneGroup(64, 8, 128, weights.config().vocab_size)),
        all_{{0, weights.layout().total_numel}},
        optimizer_(weights.layout(), all_),
        gradients_(weights.layout().total_numel),
        alone_(CreateCollective({}).value()),
        logprobs_(sequences_.targets.size()),
        entropy_(sequences_.targets.size()),
        slopes_(sequences_.targets.size(), 1e-3f) {}

  void Run() {
    const auto numel = static_cast<double>(gradients_.size());
    const std::span<float> gradients(gradients_.data(), static_cast<size_t>(gradients_.size()));
    recorder_.Time("gradients to 0", {.memory_bytes = 4 * numel},
                   [&] { std::fill(gradients.begin(), gradients.end(), 0.0f); });
    decoder_.Forward(sequences_, logprobs_, entropy_);
    decoder_.Backward({.logprobs = slopes_}, gradients.data(), [](int64_t) {});
    const double norm = recorder_.Time("norm of the gradients", {.memory_bytes = 4 * numel},
                                       [&] { return GlobalNorm(gradients, all_, *alone_).value(); });
    recorder_.Time("AdamW", {.memory_bytes = 28 * numel},
                   [&] { optimizer_.Step({}, {.t = ++step_, .lr = 1e-9}, norm, weights_.flat(), gradients); });
    timed_.Pack();
  }
  Recorder& recorder() { return recorder_; }

 private:
  DecoderWeightsCpu& weights_;
  Recorder recorder_;
  DecoderWeights<TimedBackend> timed_;
  TrainableDecoder<TimedBackend> decoder_;
  const TrainSequences sequences_;
  const std::vector<FlatRange> all_;
  AdamW optimizer_;
  ops::Buffer<float> gradients_;
  const std::unique_ptr<Collective> alone_;
  std::vector<float> logprobs_, entropy_;
  const std::vector<float> slopes_;
  int64_t step_ = 0;
};

// Rounds of a pass, a roof measured before each, and their lines.
template <typename Pass>
void Profile(Pass& pass, const nlohmann::json& about, int64_t weights_bytes, int rounds, RoofSamples& roofs) {
  pass.Run();
  pass.recorder().Clear();
  std::vector<double> faults;
  for (int i = 0; i < rounds; ++i) {
    roofs.Measure();
    const int64_t before = PageFaults();
    const double seconds = ProfileSecondsOf([&] { pass.Run(); }, 1);
    faults.push_back(static_cast<double>(PageFaults() - before));
    pass.recorder().EndRound(seconds);
  }
  Limits limits = roofs.Last(static_cast<size_t>(rounds));
  if (weights_bytes < kCachedBytes) limits.memory_bytes = limits.cache_bytes;
  for (const nlohmann::json& line : pass.recorder().Lines(about, limits)) Print(line);
  nlohmann::json line = about;
  line.update({{"what", "page faults"}, {"count", Spread(faults)}});
  Print(line);
}

}  // namespace

void ProfileDecode(DecoderWeightsCpu& weights, int64_t batch, int64_t context, const nlohmann::json& about, int rounds,
                   RoofSamples& roofs) {
  DecodeStep step(weights, batch, context);
  nlohmann::json all = about;
  all.update({{"part", "decode"}, {"batch", batch}, {"context", context}});
  Profile(step, all, BytesOf(weights), rounds, roofs);
}

void ProfileUpdate(DecoderWeightsCpu& weights, const nlohmann::json& about, int rounds, RoofSamples& roofs) {
  Update update(weights);
  nlohmann::json all = about;
  all.update({{"part", "update"}});
  Profile(update, all, BytesOf(weights), rounds, roofs);
}

}  // namespace tactus
