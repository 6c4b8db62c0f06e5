// Worked countdown answers for warm-starting a small policy, and the compact prompt that goes with them.
//
//   prompt    7 5 3=36:
//   response  7-5=2 3*2=6 no
//             7+5=12 12*3=36 yes
//             <answer>(7+5)*3</answer>
//
// One try per line: combinations in random order, none twice, the larger operand always first, every value whole and in
// [0, kMaxTraceValue], so that the arithmetic is a table small enough for a million weights. A search ends when it
// finds the target, or gives up: after each "no" with probability kGiveUpPercent, or after kMaxTries; it then answers
// with its last try. So a warm-started policy solves some puzzles, and reinforcement has something to teach: not to
// give up, and which combinations to try first. For 3 numbers up to 12 and targets up to 100 the traces solve 41 %, at
// 60 tokens on average; never giving up in 14 tries would solve 75 %, and trying likely combinations first 99 % of that
// set.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/tasks/countdown.h"
#include "common/tasks/draw_stream.h"

namespace tactus {

inline constexpr int64_t kMaxTraceValue = 150;
inline constexpr int kMaxTries = 14;
inline constexpr uint32_t kGiveUpPercent = 15;

// "7 5 3=36:"
std::string CompactCountdownPrompt(const CountdownPuzzle& puzzle);

// The response above, without an end-of-text token. Unimplemented: a number is above kMaxTraceValue.
absl::StatusOr<std::string> CountdownTrace(const CountdownPuzzle& puzzle, DrawStream& draws);

}  // namespace tactus
