// A checkpoint's state.pb. What is accepted encodes to bytes that decode to the same.
#include "learner/checkpoint/state_codec.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {

void FuzzState(absl::string_view input) {
  for (const int calibrated_heads : {0, 4}) {
    const TrajectoryLimits limits = {.max_prompt_tokens = 8,
                                     .max_completion_tokens = 8,
                                     .completions_per_prompt = 2,
                                     .vocab_size = 100,
                                     .calibrated_heads = calibrated_heads};
    (void)DecodeLogSegment(input);
    (void)DecodeHeadClasses(input, calibrated_heads);
    const absl::StatusOr<TrainFacts> facts = DecodeTrainFacts(input, limits);
    if (!facts.ok()) continue;
    Require(facts->ledger.counters.Balanced(), "the books balance");
    const std::string encoded = EncodeTrainFacts(*facts);
    const absl::StatusOr<TrainFacts> again = DecodeTrainFacts(encoded, limits);
    Require(again.ok() && EncodeTrainFacts(*again) == encoded, "it comes back as it went");
  }
}

}  // namespace tactus::fuzz
