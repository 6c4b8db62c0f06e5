#include "common/rhythm/vine.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace tactus {

std::vector<int32_t> ChunkStarts(int64_t tokens, int64_t chunks) {
  chunks = std::min(chunks, tokens);
  std::vector<int32_t> starts;
  for (int64_t m = 0; m < chunks; ++m) starts.push_back(static_cast<int32_t>(m * tokens / chunks));
  return starts;
}

std::vector<double> ChunkWorth(int64_t tokens, std::span<const int32_t> starts, std::span<const double> values) {
  assert(values.size() == starts.size() + 1);
  std::vector<double> worth(static_cast<size_t>(tokens));
  for (size_t m = 0; m < starts.size(); ++m) {
    const double billionths = std::round(std::abs(values[m + 1] - values[m]) * 1e9);
    std::fill(worth.begin() + starts[m], m + 1 < starts.size() ? worth.begin() + starts[m + 1] : worth.end(),
              billionths);
  }
  return worth;
}

}  // namespace tactus
