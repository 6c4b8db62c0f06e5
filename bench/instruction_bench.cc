// Six pieces of work, each the same in every run, whose instructions scripts/check/instruction_counts.py counts under
// valgrind. No time is measured, so a busy machine gives the same answer.
//
//   build/release/bin/instruction_bench PIECE [TIMES]     from the top of the repository
//
//   product    32 rows times [576, 192], float32: packing the left operand, and all of the product
//   attention  a decode step of two sequences at 512 tokens, one layer, measured for the rhythm (WAAD, FAI), and the
//              credit that comes of it
//   sampling   two rows of 49,152 logits, one of them at temperature 0.8
//   codec      a group of 8 answers of 128 tokens to its wire form and back, checked
//   delta      262,144 bfloat16 weights of which about 1 % changed, encoded and applied
//   tokenizer  12 KB of text to tokens and back
//
// TIMES repeats the counted work: with 2 the count doubles, by which the check shows that it would notice.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/dtype.h"
#include "common/base/status_macros.h"
#include "common/data/codec.h"
#include "common/ops/cpu/attention.h"
#include "common/ops/cpu/gemm.h"
#include "common/ops/cpu/sampling.h"
#include "common/rhythm/credit.h"
#include "common/rhythm/rhythm_meter.h"
#include "common/tokenizer/tokenizer.h"
#include "common/weights/delta/delta_set.h"

// Counting begins and ends with this function's frame (callgrind's --toggle-collect): it must stay one.
[[gnu::noinline]] void CountedWork(const std::function<bool()>& work, int times, bool& good) {
  for (int i = 0; i < times; ++i) good = work() && good;
}

namespace tactus {
namespace {

// The same numbers on every machine; the standard library's distributions promise less.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint32_t Next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  uint32_t Below(uint32_t end) { return Next() % end; }
  float Between(float low, float high) { return low + (high - low) * static_cast<float>(Next()) / 2147483648.0f; }

 private:
  uint64_t state_;
};

std::vector<float> Floats(int64_t count, uint64_t seed, float low = -1, float high = 1) {
  Numbers numbers(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = numbers.Between(low, high);
  return values;
}

// A piece, made ready: what it returns is the work to count, false where it went wrong.
using Work = std::function<bool()>;

absl::StatusOr<Work> Product() {
  constexpr int64_t kRows = 32, kDepth = 576, kColumns = 192;
  auto weights = std::make_shared<ops::PackedMatrix>(kDepth, kColumns, ops::PanelType::kFloat32);
  weights->PackTransposed(Floats(kColumns * kDepth, 1).data(), kColumns, 0);
  return [weights, a = Floats(kRows * kDepth, 2), c = std::vector<float>(kRows * kColumns)]() mutable {
    ops::Gemm({a.data(), kDepth}, kRows, *weights, c.data(), kColumns, /*accumulate=*/false);
    return std::isfinite(c.back());
  };
}

// Two sequences of one layer, and their meters.
struct MeasuredDecode {
  static constexpr int64_t kSequences = 2, kContext = 512, kPages = kContext / kPageTokens + 1, kPrompt = 64;
  static constexpr ops::AttentionShape kShape = {.num_heads = 9, .num_kv_heads = 3, .head_dim = 64};
  static constexpr int64_t kRow = (kShape.num_heads + 2 * kShape.num_kv_heads) * kShape.head_dim;
  static constexpr int64_t kPageFloats = kShape.num_kv_heads * kShape.head_dim * kPageTokens;

  MeasuredDecode() {
    for (int64_t i = 0; i < kSequences; ++i) {
      tables.emplace_back();
      for (int64_t p = 0; p < kPages; ++p) tables.back().push_back(static_cast<int32_t>(i * kPages + p));
      meters.emplace_back(kPrompt, kShape.num_heads);
      for (int64_t t = kPrompt; t < kContext; ++t) meters.back().Advance();
    }
    for (int64_t i = 0; i < kSequences; ++i) runs.push_back({i, 1, kContext, tables[static_cast<size_t>(i)]});
  }

  bool Run() {
    std::vector<RhythmMeter> measured = meters;  // the same rows every time
    std::vector<ops::AttentionTap> taps;
    taps.reserve(measured.size());
    for (RhythmMeter& meter : measured) taps.push_back(meter.Tap());
    const ops::LayerTaps layer{.probe = &probe, .taps = taps, .first_head = 0};
    ops::PagedAttention(kShape, runs, q.data(), kRow, {keys.data(), values.data()}, out.data(),
                        kShape.num_heads * kShape.head_dim, nullptr, &layer);
    double credit = 0;
    for (RhythmMeter& meter : measured) {
      meter.Advance();
      const Rhythm rhythm = ComputeRhythm(meter.Finish(), options);
      const std::vector<float> entropy(static_cast<size_t>(kContext - kPrompt + 1), 1.0f);
      for (const float gamma : CreditWeights(CreditKind::kCoupled, {}, {.entropy = entropy, .rhythm = &rhythm})) {
        credit += gamma;
      }
    }
    return credit > 0 && std::isfinite(out.back());
  }

  const RhythmOptions options;
  const ops::AttentionProbe probe = ProbeOf(options, {0});
  std::vector<std::vector<int32_t>> tables;
  std::vector<RhythmMeter> meters;
  std::vector<SequenceRun> runs;
  std::vector<float> q = Floats(kSequences * kRow, 3), out = std::vector<float>(kSequences * kRow);
  std::vector<float> keys = Floats(kSequences * kPages * kPageFloats, 4);
  std::vector<float> values = Floats(kSequences * kPages * kPageFloats, 5);
};

absl::StatusOr<Work> Attention() {
  return [decode = std::make_shared<MeasuredDecode>()] { return decode->Run(); };
}

absl::StatusOr<Work> Sampling() {
  constexpr int64_t kVocab = 49152;
  return [logits = Floats(2 * kVocab, 6, -8, 8)] {
    const ops::SamplingParams params[] = {{.temperature = 1.0f, .uniform = 0.7}, {.temperature = 0.8f, .uniform = 0.2}};
    ops::SampledToken out[2];
    ops::SampleRows(logits.data(), kVocab, params, out);
    return out[0].logprob < 0 && out[1].logprob < 0;
  };
}

absl::StatusOr<Work> Codec() {
  constexpr int kAnswers = 8, kTokens = 128, kVocab = 49152;
  Numbers numbers(7);
  TrajectoryGroup group;
  group.lease_id = 3;
  group.prompt_id = 5;
  group.actor_id = "a";
  for (int t = 0; t < 64; ++t) group.prompt_token_ids.push_back(static_cast<TokenId>(numbers.Below(kVocab)));
  for (int a = 0; a < kAnswers; ++a) {
    Completion& completion = group.completions.emplace_back();
    for (int t = 0; t < kTokens; ++t) {
      completion.token_ids.push_back(static_cast<TokenId>(numbers.Below(kVocab)));
      completion.logprobs.push_back(numbers.Between(-8, 0));
      completion.entropy.push_back(numbers.Between(0, 8));
      completion.credit.push_back(numbers.Between(1, 2));
    }
    completion.versions = {{0, {0, 4}}};
    completion.reward.total = completion.reward.correct = 1;
  }
  const TrajectoryLimits limits{.max_prompt_tokens = 64,
                                .max_completion_tokens = kTokens,
                                .completions_per_prompt = kAnswers,
                                .vocab_size = kVocab};
  return [group = std::move(group), limits] {
    const std::string bytes = EncodeGroup(group);
    const absl::StatusOr<TrajectoryGroup> read = DecodeGroup(bytes, limits);
    return read.ok() && read->completions.back().token_ids == group.completions.back().token_ids;
  };
}

absl::StatusOr<Work> Delta() {
  constexpr size_t kWeights = size_t{1} << 18;
  Numbers numbers(8);
  std::vector<uint16_t> before(kWeights), after(kWeights);
  for (size_t i = 0; i < kWeights; ++i) {
    // A sum of uniform numbers has the many exponents of real weights.
    before[i] = FloatToBFloat16(0.02f * (numbers.Between(-1, 1) + numbers.Between(-1, 1) + numbers.Between(-1, 1)));
    after[i] = static_cast<uint16_t>(before[i] + (numbers.Below(100) == 0 ? 1 : 0));
  }
  return [before = std::move(before), after = std::move(after)] {
    const auto here = [](int64_t count, absl::FunctionRef<void(int64_t, int64_t)> fn) { fn(0, count); };
    const std::optional<std::string> delta = EncodeDelta(before, after, here);
    std::vector<uint16_t> applied = before;
    return delta.has_value() && ApplyDelta(*delta, applied).ok() && applied == after;
  };
}

absl::StatusOr<Work> Tokens() {
  ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> loaded, Tokenizer::FromFile("tests/goldens/tokenizer/qwen.json"));
  std::string text;
  Numbers numbers(9);
  while (text.size() < 12000) {
    absl::StrAppend(&text, "Let x", numbers.Below(10), " be ", numbers.Below(100000),
                    "; then 2x + 7 = ", numbers.Below(1000), ". The answer's naïve form: <b>", numbers.Below(10),
                    "</b>\n");
  }
  return [tokenizer = std::shared_ptr<Tokenizer>(std::move(loaded)), text = std::move(text)] {
    const std::vector<TokenId> ids = tokenizer->Encode(text, /*add_special_tokens=*/false);
    const absl::StatusOr<std::string> again = tokenizer->Decode(ids, /*skip_special_tokens=*/false);
    return again.ok() && *again == text;
  };
}

constexpr std::pair<absl::string_view, absl::StatusOr<Work> (*)()> kPieces[] = {
    {"product", Product}, {"attention", Attention}, {"sampling", Sampling},
    {"codec", Codec},     {"delta", Delta},         {"tokenizer", Tokens},
};

absl::Status Count(absl::string_view name, int times) {
  for (const auto& [piece, make] : kPieces) {
    if (piece != name) continue;
    ASSIGN_OR_RETURN(const Work work, make());
    // Once before: what is made at first use is not counted.
    bool good = work();
    CountedWork(work, times, good);
    return good ? absl::OkStatus() : absl::InternalError(absl::StrCat(name, " gave a wrong result"));
  }
  return absl::InvalidArgumentError(absl::StrCat("there is no piece \"", name, "\""));
}

absl::Status Run(int argc, char** argv) {
  int times = 1;
  if (argc < 2 || argc > 3 || (argc == 3 && (!absl::SimpleAtoi(argv[2], &times) || times < 1))) {
    return absl::InvalidArgumentError(
        "usage: instruction_bench product|attention|sampling|codec|delta|tokenizer [TIMES]");
  }
  return Count(argv[1], times);
}

}  // namespace
}  // namespace tactus

int main(int argc, char** argv) {
  const absl::Status status = tactus::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "instruction_bench: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
