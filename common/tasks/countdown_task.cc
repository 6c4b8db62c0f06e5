#include "common/tasks/countdown_task.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/tasks/countdown.h"
#include "common/tasks/countdown_trace.h"
#include "common/tasks/draw_stream.h"

namespace tactus {
namespace {

using PuzzleIdentity = std::pair<std::vector<int64_t>, int64_t>;

PuzzleIdentity Identity(const CountdownPuzzle& puzzle) {
  PuzzleIdentity identity(puzzle.numbers, puzzle.target);
  std::sort(identity.first.begin(), identity.first.end());
  return identity;
}

class CountdownTask : public Task {
 public:
  CountdownTask(PromptStyle style, uint64_t seed, std::vector<CountdownPuzzle> train, std::vector<CountdownPuzzle> test)
      : style_(style), seed_(seed), train_(std::move(train)), test_(std::move(test)) {}

  size_t Size(Split split) const override { return Puzzles(split).size(); }

  TaskExample Example(Split split, size_t index) const override {
    const CountdownPuzzle& puzzle = Puzzles(split)[index];
    const std::string key = CountdownKey(puzzle), where = absl::StrCat("countdown puzzle ", index);
    if (style_ == PromptStyle::kCompact)
      return {.system = "", .user = CompactCountdownPrompt(puzzle), .answer_key_json = key, .where = where};
    return {.system = "You solve number puzzles. You think first, then you answer.",
            .user = absl::StrCat(
                "Use each of the numbers ", absl::StrJoin(puzzle.numbers, ", "),
                " exactly once, with +, -, *, / and parentheses, to make an expression that equals ", puzzle.target,
                ". Think step by step. Then write the expression alone between <answer> and </answer>, "
                "like this: <answer>(1 + 2) * 3</answer>"),
            .answer_key_json = key,
            .where = where};
  }

  absl::StatusOr<std::string> Trace(size_t index, uint64_t variant) const override {
    if (style_ != PromptStyle::kCompact) {
      return absl::UnimplementedError("task.prompt_style: countdown has worked answers for \"compact\" only");
    }
    DrawStream draws(seed_, DataKind::kTrace, index << 32 | (variant & 0xFFFFFFFF));
    return CountdownTrace(train_[index], draws);
  }

 private:
  const std::vector<CountdownPuzzle>& Puzzles(Split split) const { return split == Split::kTrain ? train_ : test_; }

  PromptStyle style_;
  uint64_t seed_;
  std::vector<CountdownPuzzle> train_;
  std::vector<CountdownPuzzle> test_;
};

// Draws `size` puzzles that are not in `taken`; with `different`, none comes twice. The attempts are bounded: a few
// seconds at most.
absl::StatusOr<std::vector<CountdownPuzzle>> DrawSplit(const CountdownShape& shape, uint64_t seed, DataKind kind,
                                                       int size, bool different, std::set<PuzzleIdentity>& taken) {
  int64_t attempts_left = 2'000'000 + int64_t{200} * size;
  std::vector<CountdownPuzzle> puzzles;
  while (puzzles.size() < static_cast<size_t>(size)) {
    DrawStream draws(seed, kind, puzzles.size());
    std::optional<CountdownPuzzle> puzzle;
    while (!puzzle || taken.count(Identity(*puzzle)) != 0) {
      if (--attempts_left < 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "task.test_size: found only ", puzzles.size(), " of ", size, " ", different ? "test" : "train",
            " puzzles with ", shape.min_numbers, " to ", shape.max_numbers, " numbers up to ", shape.max_number,
            " and targets up to ", shape.max_target, ", expected a smaller test_size or other limits"));
      }
      puzzle = DrawCountdown(shape, draws);
    }
    if (different) taken.insert(Identity(*puzzle));
    puzzles.push_back(*std::move(puzzle));
  }
  return puzzles;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> CreateCountdownTask(const TaskSettings& settings) {
  const uint64_t seed = settings.data_seed;
  std::set<PuzzleIdentity> test_puzzles;
  ASSIGN_OR_RETURN(auto test, DrawSplit(settings.shape, seed, DataKind::kTest, settings.test_size, /*different=*/true,
                                        test_puzzles));
  ASSIGN_OR_RETURN(auto train, DrawSplit(settings.shape, seed, DataKind::kTrain, settings.train_size,
                                         /*different=*/false, test_puzzles));
  return std::make_unique<CountdownTask>(settings.style, seed, std::move(train), std::move(test));
}

}  // namespace tactus
