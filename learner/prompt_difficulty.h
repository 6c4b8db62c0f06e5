// Which prompts are asked when their turn comes: those that the policy solves always or never less often
// (rollout.difficulty_floor).
//
// A prompt's success rate p is at first its first group's share of right answers, and then with each further group the
// mean of what it was and that group's share. In its turn it is asked with probability max(floor, 4 p (1 - p)), and
// always while it was never asked. p (1 - p) is the variance of one answer's success, the learnability by which Foster
// et al. choose questions ("Learning to reason at the frontier of learnability", arXiv 2502.12272); the 4 makes 1 of
// its largest value, and the floor is what keeps every prompt in the data. What is asked is a function of the seed, the
// place and the rates alone.
//
// Takes 2 bytes a prompt. Value type; not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tactus {

class PromptDifficulty {
 public:
  // 0 < floor <= 1; with 1 every prompt is asked in its turn, and nothing is kept.
  PromptDifficulty(uint64_t seed, size_t prompts, double floor);

  bool on() const { return !rates_.empty(); }

  // Whether prompt `prompt`, whose turn it is at `place` of the run's data, is asked.
  bool Asks(uint64_t place, size_t prompt) const;

  // `right` of the `answers` (1 to 4096) of a group that was sampled for the prompt were. Nothing where it is not on.
  void Learn(size_t prompt, int right, int answers);

  // Of the prompts that were asked: how large a share has a rate of exactly 0, and of 1. None was: 0.
  double never_share() const { return Share(never_); }
  double always_share() const { return Share(always_); }

  // Its state, for a checkpoint; "" where it is not on. Restore takes none, too: then nothing is known.
  // InvalidArgument: it is of another number of prompts, or holds what is no rate; nothing has changed.
  std::string Save() const;
  absl::Status Restore(absl::string_view saved);

 private:
  double Share(int64_t count) const {
    return asked_ == 0 ? 0 : static_cast<double>(count) / static_cast<double>(asked_);
  }
  void Count(uint16_t rate, int change);

  const uint64_t seed_;
  const uint64_t least_;         // the floor, in draws of 2^32
  std::vector<uint16_t> rates_;  // 0: never asked; else 1 + p in units of 2^-15
  int64_t asked_ = 0, never_ = 0, always_ = 0;
};

}  // namespace tactus
