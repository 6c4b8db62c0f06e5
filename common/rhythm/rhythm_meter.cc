#include "common/rhythm/rhythm_meter.h"

#include <cassert>
#include <numeric>
#include <span>
#include <utility>

namespace tactus {

ops::AttentionProbe ProbeOf(const RhythmOptions& options, std::vector<int32_t> layers) {
  return {.layers = std::move(layers),
          .window_tokens = options.window_tokens,
          .horizon_min_tokens = options.horizon_min_tokens,
          .horizon_max_tokens = options.horizon_max_tokens,
          .ignore_first_token = options.ignore_first_token};
}

FlowHeads::FlowHeads(int64_t num_heads) : heads(static_cast<size_t>(num_heads)) {
  std::iota(heads.begin(), heads.end(), 0);
  index = heads;
}

FlowHeads::FlowHeads(int64_t num_heads, const std::vector<int32_t>& increasing_subset)
    : heads(increasing_subset), index(static_cast<size_t>(num_heads), -1) {
  for (size_t i = 0; i < heads.size(); ++i) index[static_cast<size_t>(heads[i])] = static_cast<int32_t>(i);
}

RhythmMeter::RhythmMeter(int64_t prompt_tokens, int64_t num_heads, const Options& options)
    : prompt_tokens_(prompt_tokens),
      num_heads_(num_heads),
      options_(options),
      span_sum_(static_cast<size_t>(num_heads)),
      mass_sum_(options.ignore_first_token ? static_cast<size_t>(num_heads) : 0) {
  flow_rows_.prompt_tokens = prompt_tokens;
}

ops::AttentionTap RhythmMeter::Tap(std::shared_ptr<const FlowHeads> flow_heads) {
  const int64_t page = Page(next_token_), page_floats = num_heads_ * kPageTokens;
  const size_t floats = static_cast<size_t>((page + 1) * page_floats);
  if (waad_.size() < floats) {
    waad_.resize(floats);
    fai_.resize(floats);
  }
  const int64_t position = prompt_tokens_ + next_token_;
  ops::AttentionTap tap{.prompt_tokens = prompt_tokens_,
                        .num_heads = num_heads_,
                        .span_sum = span_sum_.data(),
                        .mass_sum = mass_sum_.empty() ? nullptr : mass_sum_.data(),
                        .waad = waad_.data() + page * page_floats + position % kPageTokens,
                        .fai_sum = fai_.data()};
  tap.probs_row = ProbsRow();
  flow_heads_ = std::move(flow_heads);
  assert(options_.flow_row_entries == 0 || flow_heads_ != nullptr);
  if (options_.keep_attention) {
    attention_.resize(places_.size());
    tap.probs = attention_.emplace_back(static_cast<size_t>(num_heads_ * tap.probs_row)).data();
  } else if (options_.flow_row_entries > 0) {
    head_rows_.resize(flow_heads_->heads.size() * static_cast<size_t>(tap.probs_row));
    tap.probs = head_rows_.data();
    tap.probs_index = flow_heads_->index.data();
  }
  return tap;
}

void RhythmMeter::Advance() {
  if (options_.flow_row_entries > 0) AppendFlowRow();
  places_.push_back(static_cast<int32_t>(next_token_++));
}

void RhythmMeter::AppendFlowRow() {
  const auto keys = static_cast<size_t>(prompt_tokens_ + next_token_), stride = static_cast<size_t>(ProbsRow());
  const std::vector<int32_t>& heads = flow_heads_->heads;
  std::vector<float> mean(keys);
  for (size_t i = 0; i < heads.size(); ++i) {
    const float* row = options_.keep_attention ? attention_.back().data() + static_cast<size_t>(heads[i]) * stride
                                               : head_rows_.data() + i * stride;
    for (size_t j = 0; j < keys; ++j) mean[j] += row[j];
  }
  const float share = 1.0f / static_cast<float>(heads.size());
  for (float& value : mean) value *= share;
  AppendRow(mean, options_.flow_row_entries, flow_rows_);
}

HeadSums RhythmMeter::Finish() const {
  HeadSums sums;
  sums.num_tokens = rows();
  sums.num_heads = num_heads_;
  sums.places = places_;
  sums.span_sum = span_sum_;
  sums.mass_sum = mass_sum_;
  sums.waad.resize(static_cast<size_t>(num_heads_ * rows()));
  sums.fai_sum.resize(sums.waad.size());
  for (int64_t i = 0; i < rows(); ++i) {
    const int64_t token = places_[static_cast<size_t>(i)];
    const int64_t from = Page(token) * num_heads_ * kPageTokens + (prompt_tokens_ + token) % kPageTokens;
    for (int64_t h = 0; h < num_heads_; ++h) {
      sums.waad[static_cast<size_t>(h * rows() + i)] = waad_[static_cast<size_t>(from + h * kPageTokens)];
      sums.fai_sum[static_cast<size_t>(h * rows() + i)] = fai_[static_cast<size_t>(from + h * kPageTokens)];
    }
  }
  return sums;
}

}  // namespace tactus
