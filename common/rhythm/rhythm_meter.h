// Accumulates, while a response is decoded, what the attention rhythm needs of it: one row per token that the model
// sampled. Those of others in a conversation have none: Skip() passes them.
//
// The attention op writes through Tap() in the pass that computes the row; nothing else sees a probability, and no
// attention matrix exists. Rows come once each, in order: a row that is computed again after a preemption is not
// measured again, so every row belongs to the weights that first read its token.
//
// Memory: a page of 16 tokens takes 2 * 4 * 16 * H bytes for H sampled heads (WAAD, and the sums of FAI), allocated as
// the response grows: 8 H bytes a token, a skipped one too, 360 bytes for SmolLM2-135M (H = 45), where the key/value
// cache takes 46 KiB. All N values of every head are kept, as classes that come from this response are known only at
// its end; what a row touches is bounded by the horizon. Keep-the-attention mode, for pages that people look at, adds
// 4 H (P + t) bytes per row. Where the flow is traced (flow.h), 8 bytes for each of at most flow_row_entries entries a
// row are kept, and 4 F (P + t) bytes for the rows of F heads between two steps.
//
// Owned by one thread at a time; the pointers of Tap() are written by the attention op's threads between two calls.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/ops/attention_types.h"
#include "common/rhythm/flow.h"
#include "common/rhythm/rhythm.h"

namespace tactus {

// Whose mean attention is kept for the flow.
struct FlowHeads {
  explicit FlowHeads(int64_t num_heads);                                        // all H
  FlowHeads(int64_t num_heads, const std::vector<int32_t>& increasing_subset);  // not empty

  std::vector<int32_t> heads;  // increasing
  std::vector<int32_t> index;  // [H] place in `heads`, -1: not there
};

// What the attention op must measure for `options`, in `layers`.
ops::AttentionProbe ProbeOf(const RhythmOptions& options, std::vector<int32_t> layers);

class RhythmMeter {
 public:
  struct Options {
    bool keep_attention = false;
    bool ignore_first_token = false;  // as of the probe, with the next
    int64_t flow_row_entries = 0;
  };
  RhythmMeter(int64_t prompt_tokens, int64_t num_heads) : RhythmMeter(prompt_tokens, num_heads, Options()) {}
  RhythmMeter(int64_t prompt_tokens, int64_t num_heads, const Options& options);

  // Where the attention op puts the row of response token next_token(). Valid until the next call of any method.
  // flow_heads: those of the weights that read the row; there where flow_row_entries is above 0.
  ops::AttentionTap Tap(std::shared_ptr<const FlowHeads> flow_heads = nullptr);
  // The row of the last Tap() is in.
  void Advance();
  // The next `tokens` tokens of the response are not the model's.
  void Skip(int64_t tokens) { next_token_ += tokens; }
  int64_t rows() const { return static_cast<int64_t>(places_.size()); }
  int64_t next_token() const { return next_token_; }  // index in the response

  // The sums of the rows() rows seen.
  HeadSums Finish() const;
  // With keep_attention: of each row [H, probs_row], probs_row = whole pages that cover its keys, its own the last.
  const std::vector<std::vector<float>>& attention() const { return attention_; }
  // With flow_row_entries: of the rows() rows seen.
  const FlowRows& flow_rows() const { return flow_rows_; }

 private:
  // The mean over the flow's heads of the row that is in.
  void AppendFlowRow();
  // Floats that hold the keys of the next row, in whole pages.
  int64_t ProbsRow() const { return ((prompt_tokens_ + next_token_) / kPageTokens + 1) * kPageTokens; }
  int64_t Page(int64_t t) const { return (prompt_tokens_ + t) / kPageTokens - prompt_tokens_ / kPageTokens; }

  int64_t prompt_tokens_;
  int64_t num_heads_;
  Options options_;
  int64_t next_token_ = 0;
  std::vector<int32_t> places_;                // [N] which token of the response each row is of
  std::vector<double> span_sum_;               // [H]
  std::vector<double> mass_sum_;               // [H], or empty
  std::vector<float> waad_, fai_;              // [pages, H, 16], by absolute position from the prompt's last page on
  std::vector<std::vector<float>> attention_;  // [N][H, probs_row]
  FlowRows flow_rows_;
  std::shared_ptr<const FlowHeads> flow_heads_;  // of the last Tap()
  std::vector<float> head_rows_;                 // [F, probs_row] of the last Tap(), unless attention_ has them
};

}  // namespace tactus
