#include "learner/replicas.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

constexpr int64_t kBlockBytes = int64_t{1} << 20;
constexpr uint64_t kPrime = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio, odd

// A step that no other word and no other place leads to the same from: multiply, then bring the high bits down.
uint64_t Mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * kPrime;
  return hash ^ (hash >> 29);
}

uint64_t HashOf(std::span<const char> bytes) {
  uint64_t hash = bytes.size();
  for (; bytes.size() >= sizeof(uint64_t); bytes = bytes.subspan(sizeof(uint64_t))) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof(word));
    hash = Mix(hash, word);
  }
  uint64_t rest = 0;
  if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
  return Mix(hash, rest);
}

}  // namespace

uint64_t Fingerprint64(std::span<const char> bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  std::vector<uint64_t> blocks(static_cast<size_t>((size + kBlockBytes - 1) / kBlockBytes));
  ops::ParallelFor(static_cast<int64_t>(blocks.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      const int64_t begin = b * kBlockBytes;
      blocks[static_cast<size_t>(b)] =
          HashOf(bytes.subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(kBlockBytes, size - begin))));
    }
  });
  uint64_t hash = bytes.size();
  for (const uint64_t block : blocks) hash = Mix(hash, block);
  return hash;
}

absl::Status CompareReplicas(Collective& collective, std::span<const char> bytes) {
  const uint64_t hash = Fingerprint64(bytes);
  // Halves, which a double holds exactly.
  const double mine[] = {static_cast<double>(hash >> 32), static_cast<double>(hash & 0xffffffff)};
  std::vector<double> all(static_cast<size_t>(collective.size()) * std::size(mine));
  RETURN_IF_ERROR(collective.AllGather(mine, all));
  std::vector<size_t> others;
  for (size_t rank = 0; rank < static_cast<size_t>(collective.size()); ++rank) {
    if (all[2 * rank] != all[0] || all[2 * rank + 1] != all[1]) others.push_back(rank);
  }
  if (others.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the learner's ranks hold different parameters: those of rank ", absl::StrJoin(others, ", "),
                   " are not rank 0's; expected the same model folder, program and checkpoints on every rank."));
}

}  // namespace tactus
