// Normalization form C: decompose, order the marks, compose (UAX #15; The Unicode Standard, sections 3.11 and 3.12).
#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/tokenizer/unicode.h"
#include "common/tokenizer/utf8.h"

namespace tactus {
namespace {

struct CombiningRange {
  uint32_t first, last, combining_class;
};
struct Decomposition {
  uint32_t code_point, first, second;
};

#include "common/tokenizer/unicode_nfc.inc"

// Hangul syllables are arithmetic: SBase + (l * 21 + v) * 28 + t.
constexpr uint32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

struct Mark {
  uint32_t code_point;
  uint32_t combining_class;
};

uint32_t CombiningClass(uint32_t code_point) {
  if (code_point < 0x300) return 0;
  const auto it = std::upper_bound(std::begin(kCombining), std::end(kCombining), code_point,
                                   [](uint32_t c, const CombiningRange& range) { return c < range.first; });
  if (it == std::begin(kCombining) || code_point > std::prev(it)->last) return 0;
  return std::prev(it)->combining_class;
}

const Decomposition* FindDecomposition(std::span<const Decomposition> table, uint32_t code_point) {
  const auto it = std::lower_bound(table.begin(), table.end(), code_point,
                                   [](const Decomposition& d, uint32_t c) { return d.code_point < c; });
  return it != table.end() && it->code_point == code_point ? &*it : nullptr;
}

// The depth is bounded by the tables: no chain there is longer than four.
void Decompose(uint32_t code_point, std::vector<Mark>& out) {
  if (code_point - kSBase < kSCount) {
    const uint32_t index = code_point - kSBase;
    out.push_back({kLBase + index / (kVCount * kTCount), 0});
    out.push_back({kVBase + index % (kVCount * kTCount) / kTCount, 0});
    if (index % kTCount != 0) out.push_back({kTBase + index % kTCount, 0});
    return;
  }
  if (code_point >= 0xC0) {
    const Decomposition* found = FindDecomposition(kComposites, code_point);
    if (found == nullptr) found = FindDecomposition(kOneWay, code_point);
    if (found != nullptr) {
      Decompose(found->first, out);
      if (found->second != 0) Decompose(found->second, out);
      return;
    }
  }
  out.push_back({code_point, CombiningClass(code_point)});
}

// The composite of two characters, or 0.
uint32_t Compose(uint32_t first, uint32_t second) {
  if (first - kLBase < kLCount && second - kVBase < kVCount) {
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  if (first - kSBase < kSCount && (first - kSBase) % kTCount == 0 && second - kTBase - 1 < kTCount - 1) {
    return first + (second - kTBase);
  }
  static const auto* const pairs = [] {
    auto* map = new absl::flat_hash_map<uint64_t, uint32_t>();
    for (const Decomposition& d : kComposites) map->emplace(uint64_t{d.first} << 32 | d.second, d.code_point);
    return map;
  }();
  const auto it = pairs->find(uint64_t{first} << 32 | second);
  return it == pairs->end() ? 0 : it->second;
}

void OrderMarks(std::vector<Mark>& marks) {
  for (auto it = marks.begin(); it != marks.end();) {
    if (it->combining_class == 0) {
      ++it;
      continue;
    }
    const auto end = std::find_if(it, marks.end(), [](const Mark& m) { return m.combining_class == 0; });
    std::stable_sort(it, end, [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    it = end;
  }
}

}  // namespace

std::string NormalizeNfc(absl::string_view text) {
  // Everything below U+0300 (lead bytes up to 0xCB) is in form C already, whatever stands around it.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0xCC; })) {
    return std::string(text);
  }
  std::vector<Mark> marks;
  marks.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const Scalar scalar = DecodeUtf8(text, at);
    Decompose(scalar.code_point, marks);
    at += scalar.length_bytes;
  }
  OrderMarks(marks);

  // A mark joins the last starter unless something between them blocks it: a mark of the same or a higher class, or
  // another starter.
  size_t kept = 0;
  size_t starter = marks.size();  // index among the kept; size() = none yet
  uint32_t last_class = 0;        // class of the last kept mark behind the starter
  for (const Mark mark : marks) {
    if (starter != marks.size()) {
      const bool adjacent = kept == starter + 1;
      if (adjacent || (last_class < mark.combining_class && last_class != 0)) {
        if (const uint32_t composite = Compose(marks[starter].code_point, mark.code_point); composite != 0) {
          marks[starter].code_point = composite;
          continue;
        }
      }
    }
    if (mark.combining_class == 0) starter = kept;
    last_class = mark.combining_class;
    marks[kept++] = mark;
  }

  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < kept; ++i) AppendUtf8(marks[i].code_point, out);
  return out;
}

}  // namespace tactus
