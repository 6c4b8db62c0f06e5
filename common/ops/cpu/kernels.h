// The table of single-threaded CPU kernels, one per instruction set, chosen once at run time.
//
// Every kernel's result for a row depends on that row alone: never on how many rows come with it, where in the batch it
// stands, or which instruction set ran it. Callers split rows among threads (parallel.h).
// Pointers are to contiguous float32 unless a stride is given; strides count floats.
#pragma once

#include <cstdint>

namespace tactus::ops {

// The width of a packed column panel, and the number of keys in a page.
inline constexpr int64_t kPanel = 16;
// Products are summed in chains of this many terms, chains then added in order: see Kernels::tile_gemm.
inline constexpr int64_t kChain = 256;

// C[rows, 16] (+)= A[rows, depth] * B[depth, 16].
struct TileArgs {
  int64_t rows = 0;
  int64_t depth = 0;
  const float* a = nullptr;  // element (r, k) at a[r * a_row + k * a_col]
  int64_t a_row = 0;
  int64_t a_col = 1;
  const float* b = nullptr;  // row k at b + k * b_row
  int64_t b_row = kPanel;
  float* c = nullptr;  // row r at c + r * c_row
  int64_t c_row = 0;
  bool accumulate = false;
};

// What attention measures on the way about its last query row: see AttentionTap in attention.h. Of one key/value head's
// group; head g of the group is at index g.
struct AttentionTapArgs {
  int64_t prompt_tokens = 0;
  int64_t window = 0;
  int64_t horizon_min = 0;
  int64_t horizon_max = 0;
  int64_t saved_begin = 0;     // first page whose probabilities are needed
  double* span_sum = nullptr;  // [group], added to
  double* mass_sum = nullptr;  // null, or [group], added to: then neither counts key 0
  float* waad = nullptr;       // head g at [g * 16], written
  float* fai_sum = nullptr;  // page i from the prompt's last on, head g: [i * page_stride + g * 16], 16 floats added to
  int64_t page_stride = 0;
  float* probs = nullptr;  // null, or head g at [g * probs_row]: the distribution over all keys, whole pages
  int64_t probs_row = 0;
  const int32_t* probs_index = nullptr;  // null, or [group]: head g's row of probs, -1 for none
};

// Floats from one row of a packed left operand to the next, at most: a chain, and a cache line that keeps rows off each
// other's cache sets.
inline constexpr int64_t kLeftRow = kChain + 16;

// rows x depth elements of A, depth <= kChain, laid out in [rows, kLeftRow] floats at `out`. One stride must be 1.
struct PackLeftArgs {
  const float* a = nullptr;  // element (r, k) at a[r * a_row + k * a_col]
  int64_t a_row = 0;
  int64_t a_col = 1;
  int64_t rows = 0;
  int64_t depth = 0;
  float* out = nullptr;
};

// C[rows, panels * 16] (+)= A[rows, depth] * B[depth, panels * 16], depth <= kChain.
struct PanelGemmArgs {
  int64_t rows = 0;
  int64_t panels = 1;           // 1 or 2
  int64_t depth = 0;            // terms
  const float* left = nullptr;  // from pack_left
  const void* b = nullptr;      // panel p at b + p * b_panel_bytes
  int64_t b_panel_bytes = 0;
  const void* next_b = nullptr;  // what b will be in the next call: fetched meanwhile
  float* c = nullptr;            // row r at c + r * c_row
  int64_t c_row = 0;
  bool accumulate = false;
};

// One run of query rows of one sequence against its pages, for one key/value head.
struct AttentionArgs {
  int64_t num_rows = 0;        // query tokens
  int64_t start_position = 0;  // of the first row
  int64_t group = 1;           // query heads that share this key/value head
  int64_t head_dim = 0;        // D, a multiple of 16
  float scale = 1;
  const float* q = nullptr;  // row r, head g of the group at q + r * q_row + g * D
  int64_t q_row = 0;
  const void* keys = nullptr;    // page p's [D, 16] at element p * page_stride
  const void* values = nullptr;  // page p's [16, D] at element p * page_stride
  bool bf16_pages = false;       // elements are bf16, not float32
  int64_t page_stride = 0;
  const int32_t* pages = nullptr;
  float* out = nullptr;  // as q
  int64_t out_row = 0;
  float* log_sum_exp = nullptr;  // row r, head g at [r * lse_row + g]; may be null
  int64_t lse_row = 0;
  const AttentionTapArgs* tap = nullptr;  // measures the last row; may be null
};

struct SoftmaxStats {
  float max = 0;       // of the raw logits
  double sum = 0;      // sum of exp((x - max) / temperature)
  double entropy = 0;  // at temperature 1, nats
};

struct Kernels {
  const char* name;  // "avx2", "avx512", "avx512bf16"

  // Each element is built from chains of fused multiply-adds over k = 0, 1, … , at most kChain terms each, starting at
  // 0; the chains are added to C in order. depth may be any size; depth <= kChain is one chain.
  void (*tile_gemm)(const TileArgs& args);

  // Softmax attention with running maximum over key blocks of 16, in order. scratch: AttentionScratchFloats floats.
  void (*attention)(const AttentionArgs& args, float* scratch);

  // y = x / sqrt(mean(x^2) + eps) * weight, rows of `width`. inverse_rms [rows] may be null.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t rows, int64_t width, int64_t x_row,
                   int64_t y_row, float* y, float* inverse_rms);
  // dx += gradient through the norm; dweight[width] += its gradient.
  void (*rms_norm_backward)(const float* x, const float* weight, const float* inverse_rms, const float* dy,
                            int64_t rows, int64_t width, int64_t x_row, int64_t dy_row, int64_t dx_row, float* dx,
                            float* dweight, bool accumulate_dx);

  // Rotates pairs (i, i + D/2) of one head; direction +1 forward, -1 its inverse (the backward pass).
  void (*rope)(float* head, const float* cosines, const float* sines, int64_t head_dim, float direction);

  // out = silu(gate) * up, row: gate [I] then up [I].
  void (*swiglu)(const float* gate_up, int64_t rows, int64_t width, float* out);
  // d(gate_up) from d(out); may write over nothing else.
  void (*swiglu_backward)(const float* gate_up, const float* dout, int64_t rows, int64_t width, float* dgate_up);

  // One row of logits. sums of blocks of kSoftmaxBlock exponentials go to block_sums (may be null).
  SoftmaxStats (*softmax_stats)(const float* logits, int64_t width, float inverse_temperature, float* block_sums);
  // logits -> factor * exp((x - max) * inverse_temperature), in place: softmax times a number.
  void (*softmax_scale)(float* logits, int64_t width, float max, float inverse_temperature, float factor);
  // y += x * factor
  void (*add_scaled)(const float* x, float factor, int64_t count, float* y);
  // out = exp(x * scale - offset) for one row, and out2 = out * (dp - delta) * scale: attention's backward pass.
  void (*attention_probs)(const float* scores, const float* dp, float scale, float log_sum_exp, float delta,
                          int64_t count, float* probs, float* dscores);
  float (*dot)(const float* a, const float* b, int64_t count);
  // Rounds to the nearest bf16 number, in place; count a multiple of 16.
  void (*round_bf16)(float* x, int64_t count);
  // Rounds two rows of up to 16 floats to bf16, `odd` 0 when null: lane j's pair to out[2 j], zeros past count.
  void (*pair_bf16)(const float* even, const float* odd, int64_t count, uint16_t* out);

  // The left operand of one chain, as panel_gemm and panel_gemm_bf16 want it.
  void (*pack_left)(const PackLeftArgs& args);
  void (*pack_left_bf16)(const PackLeftArgs& args);
  // One chain: tile_gemm's arithmetic, at the full speed of the machine.
  void (*panel_gemm)(const PanelGemmArgs& args);
  // The same for panels of bf16. Both factors are rounded to bf16; a chain adds the products of elements 1, 0, 3, 2,
  // ... in float32, each with one rounding. Subnormal numbers may count as 0.
  void (*panel_gemm_bf16)(const PanelGemmArgs& args);
};

inline constexpr int64_t kSoftmaxBlock = 256;
inline constexpr int64_t kAttentionTileRows = 6;

// tapped_pages: the most pages from a tap's saved_begin to its row's own; 0 without taps.
constexpr int64_t AttentionScratchFloats(int64_t head_dim, int64_t tapped_pages) {
  return kAttentionTileRows * (2 * head_dim + 4 * kPanel + tapped_pages * kPanel) + 64;
}

// The best table this CPU can run. Dies with one sentence on a CPU without AVX2 and FMA. TACTUS_ISA=avx2 in the
// environment asks for the smaller one (tests run both).
const Kernels& ActiveKernels();
// All tables this CPU can run: the conformance suite runs each.
const Kernels* const* RunnableKernels(int* count);

}  // namespace tactus::ops
