#include "common/ops/cpu/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "common/ops/cpu/buffer.h"
#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus::ops {
namespace {

// Query tokens that one piece of forward work covers: long prompts spread over the threads.
constexpr int64_t kForwardRows = 48;
// Blocks of the backward pass: query rows by keys, chosen so that five tiles of scratch stay in the first-level cache.
constexpr int64_t kQueryBlock = 32;
constexpr int64_t kKeyBlock = 32;
// Query rows in one piece of a backward pass that is cut up: blocks of them.
constexpr int64_t kMeetingRows = 4 * kQueryBlock;

struct Piece {
  const SequenceRun* run;
  const AttentionTap* tap;  // null, or of the run's last row, which is the piece's
  int64_t kv_head;
  int64_t begin, end;  // rows of the run
};

int64_t PageStride(const AttentionShape& shape) { return shape.num_kv_heads * shape.head_dim * kPageTokens; }

// Whether probs has a row of one of the `group` heads from `first` on.
bool KeepsProbs(const AttentionTap& tap, int64_t first, int64_t group) {
  if (tap.probs == nullptr || tap.probs_index == nullptr) return tap.probs != nullptr;
  return std::any_of(tap.probs_index + first, tap.probs_index + first + group, [](int32_t row) { return row >= 0; });
}

// The first page whose probabilities the row at `position` must keep for its metrics.
int64_t SavedBegin(const AttentionProbe& probe, const AttentionTap& tap, int64_t position, bool keeps_probs) {
  if (keeps_probs) return 0;
  const int64_t window_from = position - (probe.window_tokens - 1);
  const int64_t horizon_from = std::max(tap.prompt_tokens, position - probe.horizon_max_tokens);
  return std::max<int64_t>(0, std::min(window_from, horizon_from)) / kPageTokens;
}

// The part of a tap that one key/value head's group of `group` query heads, from head `first` of the H on, fills.
AttentionTapArgs TapArgs(const AttentionProbe& probe, const AttentionTap& tap, int64_t position, int64_t first,
                         int64_t group) {
  const bool whole = tap.probs != nullptr && tap.probs_index == nullptr;
  return {.prompt_tokens = tap.prompt_tokens,
          .window = probe.window_tokens,
          .horizon_min = probe.horizon_min_tokens,
          .horizon_max = probe.horizon_max_tokens,
          .saved_begin = SavedBegin(probe, tap, position, KeepsProbs(tap, first, group)),
          .span_sum = tap.span_sum + first,
          .mass_sum = tap.mass_sum == nullptr ? nullptr : tap.mass_sum + first,
          .waad = tap.waad + first * kPageTokens,
          .fai_sum = tap.fai_sum + first * kPageTokens,
          .page_stride = tap.num_heads * kPageTokens,
          .probs = whole ? tap.probs + first * tap.probs_row : tap.probs,
          .probs_row = tap.probs_row,
          .probs_index = tap.probs_index == nullptr ? nullptr : tap.probs_index + first};
}

}  // namespace

namespace {

// Element: float, or uint16_t for bf16.
template <typename Element>
void WriteElements(const AttentionShape& shape, std::span<const SequenceRun> runs, const float* k, const float* v,
                   int64_t kv_row, Element* keys, Element* values) {
  const int64_t d = shape.head_dim, page_stride = PageStride(shape);
  const auto element = [](float x) {
    if constexpr (std::is_same_v<Element, float>) {
      return x;
    } else {
      return static_cast<Element>(std::bit_cast<uint32_t>(x) >> 16);
    }
  };
  ParallelFor(static_cast<int64_t>(runs.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const SequenceRun& run = runs[static_cast<size_t>(i)];
      for (int64_t r = 0; r < run.num_rows; ++r) {
        const int64_t position = run.start_position + r, slot = position % kPageTokens;
        const int64_t page = run.page_table[static_cast<size_t>(position / kPageTokens)];
        for (int64_t h = 0; h < shape.num_kv_heads; ++h) {
          const float* from_k = k + (run.first_row + r) * kv_row + h * d;
          const float* from_v = v + (run.first_row + r) * kv_row + h * d;
          Element* to_k = keys + page * page_stride + h * d * kPageTokens + slot;
          for (int64_t c = 0; c < d; ++c) to_k[c * kPageTokens] = element(from_k[c]);
          std::transform(from_v, from_v + d, values + page * page_stride + (h * kPageTokens + slot) * d, element);
        }
      }
    }
  });
}

// The part of a page that belongs to key/value head `head`.
const void* HeadOf(const void* pages, StorageDType dtype, int64_t head, int64_t head_dim) {
  return static_cast<const std::byte*>(pages) + head * head_dim * kPageTokens * BytesPerElement(dtype);
}

}  // namespace

void WritePages(const AttentionShape& shape, std::span<const SequenceRun> runs, const float* k, const float* v,
                int64_t kv_row, PagedKeysValues pages) {
  if (pages.dtype == StorageDType::kBFloat16) {
    WriteElements(shape, runs, k, v, kv_row, static_cast<uint16_t*>(pages.keys), static_cast<uint16_t*>(pages.values));
  } else {
    WriteElements(shape, runs, k, v, kv_row, static_cast<float*>(pages.keys), static_cast<float*>(pages.values));
  }
}

void PagedAttention(const AttentionShape& shape, std::span<const SequenceRun> runs, const float* q, int64_t q_row,
                    PagedKeysValues pages, float* out, int64_t out_row, float* log_sum_exp, const LayerTaps* taps) {
  const int64_t d = shape.head_dim, group = shape.num_heads / shape.num_kv_heads;
  std::vector<Piece> pieces;
  pieces.reserve(runs.size() * static_cast<size_t>(shape.num_kv_heads));
  int64_t tapped_pages = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const SequenceRun& run = runs[i];
    const AttentionTap* tap = taps != nullptr && taps->taps[i].span_sum != nullptr ? &taps->taps[i] : nullptr;
    if (tap != nullptr) {
      const int64_t position = run.start_position + run.num_rows - 1;
      tapped_pages = std::max(
          tapped_pages, position / kPageTokens + 1 - SavedBegin(*taps->probe, *tap, position, tap->probs != nullptr));
    }
    for (int64_t begin = 0; begin < run.num_rows; begin += kForwardRows) {
      const int64_t end = std::min(begin + kForwardRows, run.num_rows);
      for (int64_t h = 0; h < shape.num_kv_heads; ++h) {
        pieces.push_back({&run, end == run.num_rows ? tap : nullptr, h, begin, end});
      }
    }
  }
  const Kernels& kernels = ActiveKernels();
  ParallelFor(static_cast<int64_t>(pieces.size()), 1, [&](int64_t first, int64_t last) {
    thread_local Buffer<float> scratch;
    scratch.Reserve(AttentionScratchFloats(d, tapped_pages));
    for (int64_t i = first; i < last; ++i) {
      const Piece& piece = pieces[static_cast<size_t>(i)];
      const int64_t row = piece.run->first_row + piece.begin, head = piece.kv_head * group;
      const int64_t position = piece.run->start_position + piece.end - 1;
      const AttentionTapArgs tap = piece.tap == nullptr
                                       ? AttentionTapArgs{}
                                       : TapArgs(*taps->probe, *piece.tap, position, taps->first_head + head, group);
      kernels.attention({.num_rows = piece.end - piece.begin,
                         .start_position = piece.run->start_position + piece.begin,
                         .group = group,
                         .head_dim = d,
                         .scale = 1.0f / std::sqrt(static_cast<float>(d)),
                         .q = q + row * q_row + head * d,
                         .q_row = q_row,
                         .keys = HeadOf(pages.keys, pages.dtype, piece.kv_head, d),
                         .values = HeadOf(pages.values, pages.dtype, piece.kv_head, d),
                         .bf16_pages = pages.dtype == StorageDType::kBFloat16,
                         .page_stride = PageStride(shape),
                         .pages = piece.run->page_table.data(),
                         .out = out + row * out_row + head * d,
                         .out_row = out_row,
                         .log_sum_exp = log_sum_exp == nullptr ? nullptr : log_sum_exp + row * shape.num_heads + head,
                         .lse_row = shape.num_heads,
                         .tap = piece.tap == nullptr ? nullptr : &tap},
                        scratch.data());
    }
  });
}

namespace {

// Scratch of one thread's backward pass.
struct BackwardScratch {
  Buffer<float> keys_t;    // [D, kKeyBlock]
  Buffer<float> values_t;  // [D, kKeyBlock]
  Buffer<float> scores;    // [kQueryBlock, kKeyBlock]
  Buffer<float> dprobs;    // [kQueryBlock, kKeyBlock]
  Buffer<float> probs;     // [kQueryBlock, kKeyBlock]
  Buffer<float> dscores;   // [kQueryBlock, kKeyBlock]
  Buffer<float> delta;     // [query heads of the group, rows]
};

// C [rows, columns] (+)= A B with B's columns a multiple of 16.
void SmallGemm(const Kernels& kernels, int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t a_row,
               int64_t a_col, const float* b, int64_t b_row, float* c, int64_t c_row, bool accumulate) {
  for (int64_t n = 0; n < columns; n += kPanel) {
    kernels.tile_gemm({.rows = rows,
                       .depth = depth,
                       .a = a,
                       .a_row = a_row,
                       .a_col = a_col,
                       .b = b + n,
                       .b_row = b_row,
                       .c = c + n,
                       .c_row = c_row,
                       .accumulate = accumulate});
  }
}

// [count, D] rows -> [D, kKeyBlock], columns past `count` zero.
void TransposeBlock(const float* rows, int64_t row_stride, int64_t count, int64_t d, float* out) {
  for (int64_t c = 0; c < d; ++c) {
    for (int64_t j = 0; j < kKeyBlock; ++j) out[c * kKeyBlock + j] = j < count ? rows[j * row_stride + c] : 0.0f;
  }
}

// Query rows that meet key rows: a sequence its own, each row those up to itself, or those who share tokens all of
// them.
struct Meeting {
  int64_t first_key, end_key;
  int64_t first_row, end_row;
  bool own;
  bool queries = true, keys = true;  // whose gradients are wanted
};

// Meetings of shared tokens, in pieces that write apart: of blocks of queries, and of blocks of keys. Scores are
// computed for both.
std::vector<Meeting> Pieces(const std::vector<Meeting>& meetings) {
  std::vector<Meeting> pieces;
  for (const Meeting& m : meetings) {
    for (int64_t row = m.first_row; row < m.end_row; row += kMeetingRows) {
      const int64_t end = std::min(row + kMeetingRows, m.end_row);
      pieces.push_back({m.first_key, m.end_key, row, end, /*own=*/false, /*queries=*/true, /*keys=*/false});
    }
    for (int64_t key = m.first_key; key < m.end_key; key += kKeyBlock) {
      const int64_t end = std::min(key + kKeyBlock, m.end_key);
      pieces.push_back({key, end, m.first_row, m.end_row, /*own=*/false, /*queries=*/false, /*keys=*/true});
    }
  }
  return pieces;
}

// Backward of one meeting for one key/value head: all its query heads, so dk and dv have one writer. A sequence's own
// overwrites what others then add to.
class HeadBackward {
 public:
  HeadBackward(const Kernels& kernels, const AttentionShape& shape, const AttentionBackwardArgs& args,
               BackwardScratch& scratch, const Meeting& meeting, int64_t kv_head)
      : kernels_(kernels),
        args_(args),
        s_(scratch),
        m_(meeting),
        d_(shape.head_dim),
        heads_(shape.num_heads),
        group_(shape.num_heads / shape.num_kv_heads),
        kv_head_(kv_head),
        scale_(1.0f / std::sqrt(static_cast<float>(shape.head_dim))) {}

  void Run() {
    s_.keys_t.Reserve(d_ * kKeyBlock);
    s_.values_t.Reserve(d_ * kKeyBlock);
    for (Buffer<float>* tile : {&s_.scores, &s_.dprobs, &s_.probs, &s_.dscores}) tile->Reserve(kQueryBlock * kKeyBlock);
    s_.delta.Reserve(rows() * group_);
    for (int64_t row = m_.first_row; row < m_.end_row; ++row) {
      for (int64_t g = 0; g < group_; ++g) {
        const int64_t at = (row * heads_ + kv_head_ * group_ + g) * d_;
        Delta(row, g) = kernels_.dot(args_.out + at, args_.dout + at, d_);
      }
    }
    for (int64_t key = m_.first_key; key < m_.end_key; key += kKeyBlock) {
      KeyBlock(key, std::min(kKeyBlock, m_.end_key - key));
    }
  }

 private:
  int64_t rows() const { return m_.end_row - m_.first_row; }
  float& Delta(int64_t row, int64_t g) { return s_.delta[g * rows() + row - m_.first_row]; }
  float* Row(float* base, int64_t row, int64_t head) const { return base + row * args_.qkv_row + head * d_; }
  const float* Row(const float* base, int64_t row, int64_t head) const {
    return base + row * args_.qkv_row + head * d_;
  }

  void KeyBlock(int64_t key, int64_t keys) {
    TransposeBlock(Row(args_.k, key, kv_head_), args_.qkv_row, keys, d_, s_.keys_t.data());
    TransposeBlock(Row(args_.v, key, kv_head_), args_.qkv_row, keys, d_, s_.values_t.data());
    for (int64_t j = 0; j < keys && m_.own; ++j) {
      std::fill_n(Row(args_.dk, key + j, kv_head_), d_, 0.0f);
      std::fill_n(Row(args_.dv, key + j, kv_head_), d_, 0.0f);
    }
    // A sequence's own rows before the key do not see it.
    const int64_t first = m_.first_row + (m_.own ? (key - m_.first_key) / kQueryBlock * kQueryBlock : 0);
    for (int64_t g = 0; g < group_; ++g) {
      for (int64_t row = first; row < m_.end_row; row += kQueryBlock) {
        QueryBlock(key, keys, row, std::min(kQueryBlock, m_.end_row - row), kv_head_ * group_ + g, g);
      }
    }
  }

  void QueryBlock(int64_t key, int64_t keys, int64_t row, int64_t rows, int64_t head, int64_t g) {
    const float* q = Row(args_.q, row, head);
    const float* dout = args_.dout + (row * heads_ + head) * d_;
    SmallGemm(kernels_, rows, d_, kKeyBlock, q, args_.qkv_row, 1, s_.keys_t.data(), kKeyBlock, s_.scores.data(),
              kKeyBlock, false);
    SmallGemm(kernels_, rows, d_, kKeyBlock, dout, heads_ * d_, 1, s_.values_t.data(), kKeyBlock, s_.dprobs.data(),
              kKeyBlock, false);
    for (int64_t r = 0; r < rows; ++r) {
      float* probs = s_.probs.data() + r * kKeyBlock;
      float* dscores = s_.dscores.data() + r * kKeyBlock;
      kernels_.attention_probs(s_.scores.data() + r * kKeyBlock, s_.dprobs.data() + r * kKeyBlock, scale_,
                               args_.log_sum_exp[(row + r) * heads_ + head], Delta(row + r, g), kKeyBlock, probs,
                               dscores);
      const int64_t visible = m_.own ? std::clamp<int64_t>(row + r + 1 - key, 0, keys) : keys;
      std::fill(probs + visible, probs + kKeyBlock, 0.0f);
      std::fill(dscores + visible, dscores + kKeyBlock, 0.0f);
    }
    if (m_.keys) {
      SmallGemm(kernels_, keys, rows, d_, s_.probs.data(), 1, kKeyBlock, dout, heads_ * d_,
                Row(args_.dv, key, kv_head_), args_.qkv_row, true);
      SmallGemm(kernels_, keys, rows, d_, s_.dscores.data(), 1, kKeyBlock, q, args_.qkv_row,
                Row(args_.dk, key, kv_head_), args_.qkv_row, true);
    }
    if (!m_.queries) return;
    SmallGemm(kernels_, rows, keys, d_, s_.dscores.data(), kKeyBlock, 1, Row(args_.k, key, kv_head_), args_.qkv_row,
              Row(args_.dq, row, head), args_.qkv_row, !m_.own || key > m_.first_key);
  }

  const Kernels& kernels_;
  const AttentionBackwardArgs& args_;
  BackwardScratch& s_;
  const Meeting& m_;
  const int64_t d_, heads_, group_, kv_head_;
  const float scale_;
};

}  // namespace

void AttentionBackward(const AttentionShape& shape, const AttentionBackwardArgs& args) {
  const Kernels& kernels = ActiveKernels();
  const auto run = [&](const std::vector<Meeting>& meetings) {
    ParallelFor(static_cast<int64_t>(meetings.size()) * shape.num_kv_heads, 1, [&](int64_t begin, int64_t end) {
      thread_local BackwardScratch scratch;
      for (int64_t i = begin; i < end; ++i) {
        const Meeting& meeting = meetings[static_cast<size_t>(i / shape.num_kv_heads)];
        HeadBackward(kernels, shape, args, scratch, meeting, i % shape.num_kv_heads).Run();
      }
    });
  };
  std::vector<Meeting> own, shared;
  for (const PackedSequence& s : args.sequences) {
    own.push_back({s.first_row, s.end_row(), s.first_row, s.end_row(), /*own=*/true});
    if (s.given > 0) shared.push_back({s.first_row, s.first_row + s.given, s.end_row(), s.family_end, /*own=*/false});
  }
  run(own);
  // One prompt has no more key/value heads to share out than one answer had. How it is cut changes no bit.
  const bool few = static_cast<int64_t>(shared.size()) * shape.num_kv_heads < 2 * Threads();
  run(few ? Pieces(shared) : shared);
}

}  // namespace tactus::ops
