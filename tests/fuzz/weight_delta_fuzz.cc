// What says how weights changed, a byte in front of it: a block's changes or a set's, applied to numbers that are
// always the same; or two sets, of which one is made from the other by its delta.
#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "common/weights/delta/delta_set.h"
#include "common/weights/delta/weight_delta.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {
namespace {

using Numbers = std::vector<uint16_t>;

// Of many exponents, several chunks long and no multiple of one.
Numbers SomeNumbers() {
  Numbers numbers(300);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint16_t>(i * i * 40503u);
  return numbers;
}

void Apply(absl::string_view delta, absl::Status (*apply)(absl::string_view, std::span<uint16_t>)) {
  const Numbers before = SomeNumbers();
  Numbers after = before, again = before;
  if (!apply(delta, after).ok()) return;
  Require(ApplyDeltaBlock(EncodeDeltaBlock(before, after), again).ok() && again == after,
          "what was applied can be told again");
}

void GiveBack(absl::string_view bytes) {
  Numbers before(bytes.size() / 4), after(before.size());
  const size_t size = before.size() * sizeof(uint16_t);
  std::memcpy(before.data(), bytes.data(), size);
  std::memcpy(after.data(), bytes.data() + size, size);
  Numbers applied = before;
  Require(ApplyDeltaBlock(EncodeDeltaBlock(before, after), applied).ok() && applied == after, "every bit comes back");
}

}  // namespace

void FuzzWeightDelta(absl::string_view input) {
  if (input.empty()) return;
  const absl::string_view bytes = input.substr(1);
  switch (input[0]) {
    case 'b':
      return Apply(bytes, ApplyDeltaBlock);
    case 's':
      return Apply(bytes, ApplyDelta);
    case 't':
      return GiveBack(bytes);
    default:
      return;
  }
}

}  // namespace tactus::fuzz
