// What changed between two versions of a set of bfloat16 weights, without loss and in few bytes.
//
// An update of a trained policy moves most weights by less than bfloat16 can show: near a learning rate of 1e-6 about
// one in a hundred changes, nine of ten of those by one unit in the last place. A delta says which (the gap since the
// last change) and by how many units, each coded by how often it comes (rans.h). Both depend on the old number's
// exponent, which the receiver holds too, so gaps are counted within classes of exponents (element_masks.h): a large
// weight, whose grid is coarse, changes many times more rarely than a small one. Published codecs (PULSE, arXiv
// 2602.03839) send positions and whole values through a general compressor instead.
//
// A set is cut into blocks of 8 Mi numbers that know nothing of each other: they are encoded, sent and applied one by
// one or several at once.
//
//   block  = varint changes, then unless 0:
//            7 bytes of cuts, 8 varints: changes by class, for each class that has some: gap table, step table,
//            varint bytes of coded symbols, these, varint bytes of plain bits, these
//   symbols: each class's first gap; then 64 numbers at a time, class by class, each change's step and its class's next
//   gap step   = the new number's place in the order of all numbers, minus the old one's, as 2 (|step| - 1) + (step <
//   0)
//
// Pure functions; thread-safe. A delta that fits a set other than its own gives other weights without a word: compare
// hashes afterwards.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

inline constexpr size_t kDeltaBlockElements = size_t{8} << 20;

// `before` and `after` have one size, at most kDeltaBlockElements.
std::string EncodeDeltaBlock(std::span<const uint16_t> before, std::span<const uint16_t> after);

// Turns the numbers before into those after. InvalidArgument, DataLoss: `delta` is no block for so many numbers, which
// are then neither the old nor the new ones.
absl::Status ApplyDeltaBlock(absl::string_view delta, std::span<uint16_t> numbers);

// About what part of the numbers differs, from a sample: whether encoding can pay.
double ChangedFraction(std::span<const uint16_t> before, std::span<const uint16_t> after);

}  // namespace tactus
