#include "common/tasks/countdown_task.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/data/data_rows.h"
#include "common/tasks/countdown.h"
#include "common/tasks/countdown_trace.h"
#include "common/tasks/draw_stream.h"
#include "common/tasks/row_splits.h"

namespace tactus {
namespace {

using PuzzleIdentity = std::pair<std::vector<int64_t>, int64_t>;

PuzzleIdentity Identity(const CountdownPuzzle& puzzle) {
  PuzzleIdentity identity(puzzle.numbers, puzzle.target);
  std::sort(identity.first.begin(), identity.first.end());
  return identity;
}

std::string IdentityText(CountdownPuzzle puzzle) {
  std::ranges::sort(puzzle.numbers);
  return CountdownKey(puzzle);
}

// The prompts, wherever the puzzles come from.
class CountdownTask : public Task {
 public:
  CountdownTask(PromptStyle style, uint64_t seed) : style_(style), seed_(seed) {}

  absl::StatusOr<TaskExample> Example(Split split, size_t index) const override {
    ASSIGN_OR_RETURN(PlacedPuzzle placed, At(split, index));
    const CountdownPuzzle& puzzle = placed.puzzle;
    TaskExample example{.system = "",
                        .user = CompactCountdownPrompt(puzzle),
                        .answer_key_json = CountdownKey(puzzle),
                        .where = std::move(placed.where),
                        .identity = IdentityText(puzzle)};
    if (style_ == PromptStyle::kCompact) return example;
    example.system = "You solve number puzzles. You think first, then you answer.";
    example.user = absl::StrCat("Use each of the numbers ", absl::StrJoin(puzzle.numbers, ", "),
                                " exactly once, with +, -, *, / and parentheses, to make an expression that equals ",
                                puzzle.target,
                                ". Think step by step. Then write the expression alone between <answer> and </answer>, "
                                "like this: <answer>(1 + 2) * 3</answer>");
    return example;
  }

  absl::StatusOr<std::string> Trace(size_t index, uint64_t variant) const override {
    if (style_ != PromptStyle::kCompact) {
      return absl::UnimplementedError("task.prompt_style: countdown has worked answers for \"compact\" only");
    }
    DrawStream draws(seed_, DataKind::kTrace, index << 32 | (variant & 0xFFFFFFFF));
    ASSIGN_OR_RETURN(const PlacedPuzzle placed, At(Split::kTrain, index));
    return CountdownTrace(placed.puzzle, draws);
  }

 protected:
  struct PlacedPuzzle {
    CountdownPuzzle puzzle;
    std::string where;
  };

 private:
  virtual absl::StatusOr<PlacedPuzzle> At(Split split, size_t index) const = 0;

  const PromptStyle style_;
  const uint64_t seed_;
};

class MadeCountdownTask final : public CountdownTask {
 public:
  MadeCountdownTask(PromptStyle style, uint64_t seed, std::vector<CountdownPuzzle> train,
                    std::vector<CountdownPuzzle> test)
      : CountdownTask(style, seed), train_(std::move(train)), test_(std::move(test)) {}

  size_t Size(Split split) const override { return Puzzles(split).size(); }

 private:
  absl::StatusOr<PlacedPuzzle> At(Split split, size_t index) const override {
    return PlacedPuzzle{.puzzle = Puzzles(split)[index], .where = absl::StrCat("countdown puzzle ", index)};
  }
  const std::vector<CountdownPuzzle>& Puzzles(Split split) const { return split == Split::kTrain ? train_ : test_; }

  const std::vector<CountdownPuzzle> train_, test_;
};

class ReadCountdownTask final : public CountdownTask {
 public:
  ReadCountdownTask(PromptStyle style, uint64_t seed, RowSplits rows)
      : CountdownTask(style, seed), rows_(std::move(rows)) {}

  size_t Size(Split split) const override { return rows_.Size(split); }

 private:
  absl::StatusOr<PlacedPuzzle> At(Split split, size_t index) const override {
    ASSIGN_OR_RETURN(TaskRow row, rows_.At(split, index));
    ASSIGN_OR_RETURN(CountdownPuzzle puzzle, ParseCountdownKey(row.answer_key_json));
    return PlacedPuzzle{.puzzle = std::move(puzzle), .where = std::move(row.where)};
  }

  const RowSplits rows_;
};

absl::StatusOr<TaskRow> ReadRow(const JsonField& row, const TaskSettings& settings) {
  ASSIGN_OR_RETURN(const JsonField numbers, FieldAt(row, settings.numbers_field));
  ASSIGN_OR_RETURN(const JsonField target, FieldAt(row, settings.target_field));
  ASSIGN_OR_RETURN(const CountdownPuzzle puzzle, ReadPuzzle(numbers, target));
  return TaskRow{.question = "", .identity = IdentityText(puzzle), .answer_key_json = CountdownKey(puzzle)};
}

absl::StatusOr<std::unique_ptr<Task>> ReadTask(const TaskSettings& settings) {
  const auto read = [&settings](const JsonField& row) { return ReadRow(row, settings); };
  ASSIGN_OR_RETURN(RowSplits rows, RowSplits::Read(settings, {.row_name = "puzzle",
                                                              .fields = {settings.numbers_field, settings.target_field},
                                                              .read = read}));
  return std::make_unique<ReadCountdownTask>(settings.style, settings.data_seed, std::move(rows));
}

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
  if (!settings.test_path.empty()) return ReadTask(settings);
  const uint64_t seed = settings.data_seed;
  std::set<PuzzleIdentity> test_puzzles;
  ASSIGN_OR_RETURN(auto test, DrawSplit(settings.shape, seed, DataKind::kTest, settings.test_size, /*different=*/true,
                                        test_puzzles));
  ASSIGN_OR_RETURN(auto train, DrawSplit(settings.shape, seed, DataKind::kTrain, settings.train_size,
                                         /*different=*/false, test_puzzles));
  return std::make_unique<MadeCountdownTask>(settings.style, seed, std::move(train), std::move(test));
}

}  // namespace tactus
