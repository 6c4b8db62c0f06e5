#include "common/rhythm/rhythm_meter.h"

#include <utility>

namespace tactus {

ops::AttentionProbe ProbeOf(const RhythmOptions& options, std::vector<int32_t> layers) {
  return {.layers = std::move(layers),
          .window_tokens = options.window_tokens,
          .horizon_min_tokens = options.horizon_min_tokens,
          .horizon_max_tokens = options.horizon_max_tokens,
          .ignore_first_token = options.ignore_first_token};
}

RhythmMeter::RhythmMeter(int64_t prompt_tokens, int64_t num_heads, const Options& options)
    : prompt_tokens_(prompt_tokens),
      num_heads_(num_heads),
      options_(options),
      span_sum_(static_cast<size_t>(num_heads)),
      mass_sum_(options.ignore_first_token ? static_cast<size_t>(num_heads) : 0) {}

ops::AttentionTap RhythmMeter::Tap() {
  const int64_t page = Page(rows_), page_floats = num_heads_ * kPageTokens;
  const size_t floats = static_cast<size_t>((page + 1) * page_floats);
  if (waad_.size() < floats) {
    waad_.resize(floats);
    fai_.resize(floats);
  }
  const int64_t position = prompt_tokens_ + rows_;
  ops::AttentionTap tap{.prompt_tokens = prompt_tokens_,
                        .num_heads = num_heads_,
                        .span_sum = span_sum_.data(),
                        .mass_sum = mass_sum_.empty() ? nullptr : mass_sum_.data(),
                        .waad = waad_.data() + page * page_floats + position % kPageTokens,
                        .fai_sum = fai_.data()};
  if (options_.keep_attention) {
    tap.probs_row = (position / kPageTokens + 1) * kPageTokens;
    attention_.resize(static_cast<size_t>(rows_));
    tap.probs = attention_.emplace_back(static_cast<size_t>(num_heads_ * tap.probs_row)).data();
  }
  return tap;
}

HeadSums RhythmMeter::Finish() const {
  HeadSums sums;
  sums.num_tokens = rows_;
  sums.num_heads = num_heads_;
  sums.span_sum = span_sum_;
  sums.mass_sum = mass_sum_;
  sums.waad.resize(static_cast<size_t>(num_heads_ * rows_));
  sums.fai_sum.resize(static_cast<size_t>(num_heads_ * rows_));
  for (int64_t t = 0; t < rows_; ++t) {
    const int64_t from = Page(t) * num_heads_ * kPageTokens + (prompt_tokens_ + t) % kPageTokens;
    for (int64_t h = 0; h < num_heads_; ++h) {
      sums.waad[static_cast<size_t>(h * rows_ + t)] = waad_[static_cast<size_t>(from + h * kPageTokens)];
      sums.fai_sum[static_cast<size_t>(h * rows_ + t)] = fai_[static_cast<size_t>(from + h * kPageTokens)];
    }
  }
  return sums;
}

}  // namespace tactus
