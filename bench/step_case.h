// What benches of decoding share: a decode step of a real model at a given context.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "actor/engine/model_runner.h"
#include "bench/figures.h"
#include "common/base/status_macros.h"
#include "common/rhythm/rhythm_meter.h"

namespace tactus {

inline constexpr int64_t kBenchPrompt = 64;  // tokens of each sequence that are its prompt

// Page tables of `sequences` sequences of `tokens` tokens each.
inline std::vector<std::vector<int32_t>> PageTables(int64_t sequences, int64_t tokens) {
  const int64_t pages = (tokens + kPageTokens - 1) / kPageTokens;
  std::vector<std::vector<int32_t>> tables(static_cast<size_t>(sequences),
                                           std::vector<int32_t>(static_cast<size_t>(pages)));
  int32_t next = 0;
  for (auto& table : tables) {
    for (int32_t& page : table) page = next++;
  }
  return tables;
}

// Meters that stand before the row at position `context`.
inline std::vector<RhythmMeter> MetersAt(int64_t sequences, int64_t context, int64_t heads,
                                         int64_t flow_row_entries = 0) {
  std::vector<RhythmMeter> meters(static_cast<size_t>(sequences),
                                  RhythmMeter(kBenchPrompt, heads, {.flow_row_entries = flow_row_entries}));
  const auto one_head = std::make_shared<const FlowHeads>(heads, std::vector<int32_t>{0});
  for (RhythmMeter& meter : meters) {
    for (int64_t t = 0; t < context - kBenchPrompt; ++t) {
      if (flow_row_entries > 0) meter.Tap(one_head);
      meter.Advance();
    }
  }
  return meters;
}

// A decode step of the real model, over a cache that holds one prefilled sequence in several copies.
class StepCase {
 public:
  // flow_row_entries above 0: measured steps keep rows of the last third of the heads for the flow, too.
  StepCase(ModelRunner& runner, const RhythmOptions& options, int64_t context, int64_t sequences,
           int64_t flow_row_entries = 0)
      : runner_(runner),
        sequences_(sequences),
        probe_(ProbeOf(options, DefaultRhythmLayers(runner.config().num_layers))),
        tables_(PageTables(sequences, context + 1)),
        flow_row_entries_(flow_row_entries),
        meters_(MetersAt(sequences, context, heads(), flow_row_entries)) {
    std::vector<int32_t> global;
    for (auto h = static_cast<int32_t>(heads() * 7 / 10); h < heads(); ++h) global.push_back(h);
    flow_heads_ = std::make_shared<const FlowHeads>(heads(), global);
    plan_.batch.probe = &probe_;
    std::mt19937 random(5);
    for (int64_t i = 0; i < sequences_; ++i) {
      plan_.batch.token_ids.push_back(
          static_cast<TokenId>(random() % static_cast<uint32_t>(runner.config().vocab_size)));
      plan_.batch.runs.push_back({i, 1, context, tables_[static_cast<size_t>(i)]});
      plan_.draws.push_back({.row = static_cast<int32_t>(i), .params = {.temperature = 1.0f, .uniform = 0.5}});
      taps_.push_back(meters_[static_cast<size_t>(i)].Tap(flow_heads_));
    }
    sampled_.resize(static_cast<size_t>(sequences_));
  }

  absl::Status Prefill(int64_t context) {
    StepPlan prefill;
    std::mt19937 random(7);
    std::vector<ops::SampledToken> none;
    constexpr int64_t kPiece = 512;
    for (int64_t first = 0; first < context; first += kPiece) {
      prefill.Clear();
      const int64_t rows = std::min(kPiece, context - first);
      for (int64_t r = 0; r < rows; ++r) {
        prefill.batch.token_ids.push_back(
            static_cast<TokenId>(random() % static_cast<uint32_t>(runner_.config().vocab_size)));
      }
      prefill.batch.runs.push_back({0, rows, first, tables_[0]});
      RETURN_IF_ERROR(runner_.Execute(prefill, none));
    }
    for (int64_t i = 1; i < sequences_; ++i) {
      for (size_t page = 0; page < tables_[0].size(); ++page) {
        plan_.copies.push_back({tables_[0][page], tables_[static_cast<size_t>(i)][page]});
      }
    }
    plan_.batch.taps.resize(static_cast<size_t>(sequences_));
    RETURN_IF_ERROR(runner_.Execute(plan_, sampled_));
    plan_.copies.clear();
    return absl::OkStatus();
  }

  void Step(bool measure) {
    plan_.batch.taps = measure ? taps_ : std::vector<ops::AttentionTap>(static_cast<size_t>(sequences_));
    if (!runner_.Execute(plan_, sampled_).ok()) std::abort();
    if (!measure || flow_row_entries_ == 0) return;
    // Each row is taken into the flow. The meters move on while the step stays where it is, which costs the same.
    for (size_t i = 0; i < meters_.size(); ++i) {
      meters_[i].Advance();
      taps_[i] = meters_[i].Tap(flow_heads_);
    }
  }
  size_t num_layers() const { return probe_.layers.size(); }

 private:
  int64_t heads() const { return static_cast<int64_t>(probe_.layers.size()) * runner_.config().num_heads; }

  ModelRunner& runner_;
  const int64_t sequences_;
  ops::AttentionProbe probe_;
  std::vector<std::vector<int32_t>> tables_;
  int64_t flow_row_entries_;
  std::shared_ptr<const FlowHeads> flow_heads_;
  std::vector<RhythmMeter> meters_;
  std::vector<ops::AttentionTap> taps_;
  StepPlan plan_;
  std::vector<ops::SampledToken> sampled_;
};

}  // namespace tactus
