#include "learner/prompt_difficulty.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"

namespace tactus {
namespace {

constexpr uint32_t kOne = 1 << 15;  // p = 1
constexpr uint16_t kUnknown = 0, kNever = 1, kAlways = kOne + 1;
constexpr double kDraws = 0x1.0p32;

}  // namespace

PromptDifficulty::PromptDifficulty(uint64_t seed, size_t prompts, double floor)
    : seed_(seed), least_(static_cast<uint64_t>(std::ceil(floor * kDraws))), rates_(floor < 1 ? prompts : 0) {}

bool PromptDifficulty::Asks(uint64_t place, size_t prompt) const {
  if (!on() || rates_[prompt] == kUnknown) return true;
  const uint64_t rate = rates_[prompt] - 1u;
  const uint64_t weight = 16 * rate * (kOne - rate);  // 4 p (1 - p) of 2^32
  return TokenDraw(seed_, place, 0, 0, DrawPurpose::kDifficulty)[0] < std::max(least_, weight);
}

// Rounds towards the newest group, so that a prompt which is solved always from now on comes to a rate of exactly 1,
// and one that never is to 0.
void PromptDifficulty::Learn(size_t prompt, int right, int answers) {
  if (!on()) return;
  const auto of = static_cast<uint32_t>(answers);
  const uint32_t newest = (static_cast<uint32_t>(right) * kOne + of / 2) / of;
  uint16_t& rate = rates_[prompt];
  const uint32_t before = rate == kUnknown ? newest : rate - 1u;
  Count(rate, -1);
  rate = static_cast<uint16_t>(1 + (before + newest + (newest > before ? 1 : 0)) / 2);
  Count(rate, 1);
}

void PromptDifficulty::Count(uint16_t rate, int change) {
  if (rate != kUnknown) asked_ += change;
  if (rate == kNever) never_ += change;
  if (rate == kAlways) always_ += change;
}

std::string PromptDifficulty::Save() const {
  std::string saved;
  saved.reserve(2 * rates_.size());
  for (const uint16_t rate : rates_) {
    saved.push_back(static_cast<char>(rate & 0xff));
    saved.push_back(static_cast<char>(rate >> 8));
  }
  return saved;
}

absl::Status PromptDifficulty::Restore(absl::string_view saved) {
  std::vector<uint16_t> rates(rates_.size());
  if (!saved.empty() && saved.size() != 2 * rates.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the checkpoint's prompt_difficulty has ", saved.size(),
                                                   " bytes; expected ", 2 * rates.size(), ", 2 for each of ",
                                                   rates.size(), " prompts"));
  }
  const auto byte = [&](size_t i) { return static_cast<uint16_t>(static_cast<unsigned char>(saved[i])); };
  for (size_t i = 0; 2 * i < saved.size(); ++i) {
    rates[i] = static_cast<uint16_t>(byte(2 * i) | byte(2 * i + 1) << 8);
    if (rates[i] > kAlways) {
      return absl::InvalidArgumentError(absl::StrCat("the checkpoint's prompt_difficulty has ", rates[i],
                                                     " for prompt ", i, "; expected at most ", kAlways));
    }
  }
  rates_ = std::move(rates);
  asked_ = never_ = always_ = 0;
  for (const uint16_t rate : rates_) Count(rate, 1);
  return absl::OkStatus();
}

}  // namespace tactus
