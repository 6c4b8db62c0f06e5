// Credit from what chunks of an answer were worth: V before and after each, by sampling how the text up to there goes
// on. Pure functions; thread-safe. After VinePPO (arXiv 2410.01679); docs/rhythm.md has the definition and our choices.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

namespace tactus {

struct VineOptions {
  int positions = 8;  // M: chunks of an answer
  int samples = 8;    // K: continuations from the beginning of each
};

// What follows the first `length` tokens of one of a group's answers.
struct VinePlace {
  int answer = 0;
  int length = 0;
  friend auto operator<=>(const VinePlace&, const VinePlace&) = default;  // NOLINT(modernize-use-nullptr)
};
// That before an answer's first token is the same for all of the group: the first answer's.
inline VinePlace PlaceBefore(int answer, int length) { return {length == 0 ? 0 : answer, length}; }

// Where the min(chunks, tokens) chunks of an answer begin: chunk m at floor(m * tokens / chunks). None of no tokens.
std::vector<int32_t> ChunkStarts(int64_t tokens, int64_t chunks);

// [tokens] what VINE chooses by: |V after - V before| of the chunk that a token is in, in whole billionths, so that
// values whose rewards were added up in another order are equal. starts: ChunkStarts'; values: V before each chunk,
// then the answer's own reward.
std::vector<double> ChunkWorth(int64_t tokens, std::span<const int32_t> starts, std::span<const double> values);

}  // namespace tactus
