#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "common/tasks/countdown.h"
#include "common/tasks/task.h"
#include "proto/config.pb.h"
#include "proto/options.pb.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

config::TaskOptions Countdown() {
  config::TaskOptions options;
  options.set_name("countdown");
  return options;
}

config::TaskOptions QuickStart() {
  config::TaskOptions options = Countdown();
  options.set_max_numbers(3);
  options.set_max_number(12);
  options.set_prompt_style("compact");
  return options;
}

using Identity = std::pair<std::multiset<int64_t>, int64_t>;

CountdownPuzzle Puzzle(const TaskExample& example) { return ParseCountdownKey(example.answer_key_json).value(); }

Identity IdentityOf(const TaskExample& example) {
  const CountdownPuzzle puzzle = Puzzle(example);
  return {{puzzle.numbers.begin(), puzzle.numbers.end()}, puzzle.target};
}

// Can the target be reached? By brute force over ordered pairs, in floating point.
bool Solvable(const std::vector<double>& values, double target) {
  if (values.size() == 1) return std::abs(values[0] - target) < 1e-9;
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = 0; j < values.size(); ++j) {
      if (i == j) continue;
      std::vector<double> rest;
      for (size_t k = 0; k < values.size(); ++k) {
        if (k != i && k != j) rest.push_back(values[k]);
      }
      const double a = values[i], b = values[j];
      for (const double result : {a + b, a - b, a * b, b == 0 ? 1e18 : a / b}) {
        rest.push_back(result);
        if (Solvable(rest, target)) return true;
        rest.pop_back();
      }
    }
  }
  return false;
}

TEST(CountdownTask, DefaultsAreThoseOfTheConfiguration) {
  const auto task = CreateTask(Countdown());
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ((*task)->Size(Split::kTrain), 20000u);
  EXPECT_EQ((*task)->Size(Split::kTest), 512u);
  size_t with_four = 0;
  for (size_t i = 0; i < 1000; ++i) {
    const CountdownPuzzle puzzle = Puzzle((*task)->Example(Split::kTrain, i).value());
    EXPECT_TRUE(puzzle.numbers.size() == 3 || puzzle.numbers.size() == 4);
    with_four += puzzle.numbers.size() == 4;
    for (const int64_t number : puzzle.numbers) EXPECT_TRUE(number >= 1 && number <= 99) << number;
    EXPECT_TRUE(puzzle.target >= 1 && puzzle.target <= 100) << puzzle.target;
  }
  EXPECT_GT(with_four, 200u);
  EXPECT_LT(with_four, 800u);
  const auto wrong = CreateVerifier("countdown", Countdown().format_reward())
                         .value()
                         ->Score("{\"numbers\":[1],\"target\":2}", "<answer>1</answer>");
  EXPECT_EQ(wrong->total, 0.05);
}

TEST(CountdownTask, SplitsShareNoPuzzleAndTestPuzzlesDiffer) {
  for (const auto& options : {Countdown(), QuickStart()}) {
    const auto task = CreateTask(options);
    ASSERT_TRUE(task.ok()) << task.status();
    std::set<Identity> test;
    for (size_t i = 0; i < (*task)->Size(Split::kTest); ++i)
      test.insert(IdentityOf((*task)->Example(Split::kTest, i).value()));
    EXPECT_EQ(test.size(), (*task)->Size(Split::kTest));
    for (size_t i = 0; i < (*task)->Size(Split::kTrain); ++i) {
      ASSERT_EQ(test.count(IdentityOf((*task)->Example(Split::kTrain, i).value())), 0u) << i;
    }
  }
}

TEST(CountdownTask, EveryPuzzleIsSolvable) {
  config::TaskOptions options = Countdown();
  options.set_train_size(300);
  options.set_test_size(300);
  const auto task = CreateTask(options);
  ASSERT_TRUE(task.ok());
  for (const Split split : {Split::kTrain, Split::kTest}) {
    for (size_t i = 0; i < 300; ++i) {
      const CountdownPuzzle puzzle = Puzzle((*task)->Example(split, i).value());
      EXPECT_TRUE(Solvable({puzzle.numbers.begin(), puzzle.numbers.end()}, static_cast<double>(puzzle.target)))
          << CountdownKey(puzzle);
    }
  }
}

TEST(CountdownTask, TheSameOptionsGiveTheSameData) {
  config::TaskOptions options = QuickStart();
  const auto a = CreateTask(options), b = CreateTask(options);
  options.set_train_size(10);
  const auto small = CreateTask(options);
  options.set_data_seed(8);
  const auto other = CreateTask(options);
  size_t differing = 0;
  for (size_t i = 0; i < 512; ++i) {
    const std::string key = (*a)->Example(Split::kTest, i).value().answer_key_json;
    EXPECT_EQ((*b)->Example(Split::kTest, i).value().answer_key_json, key);
    EXPECT_EQ((*small)->Example(Split::kTest, i).value().answer_key_json, key) << "depends on train_size";
    differing += (*other)->Example(Split::kTest, i).value().answer_key_json != key;
  }
  EXPECT_GT(differing, 500u);
  // Frozen: a change of the generator changes what every recorded result was measured on.
  EXPECT_EQ((*a)->Example(Split::kTest, 0).value().answer_key_json, "{\"numbers\":[6,2,9],\"target\":27}");
  EXPECT_EQ((*a)->Example(Split::kTrain, 0).value().answer_key_json, "{\"numbers\":[6,5,7],\"target\":37}");
}

TEST(CountdownTask, PromptsSayNumbersAndTarget) {
  const auto chat = CreateTask(Countdown());
  const TaskExample example = (*chat)->Example(Split::kTest, 3).value();
  const CountdownPuzzle puzzle = Puzzle(example);
  EXPECT_FALSE(example.system.empty());
  EXPECT_THAT(example.user, HasSubstr("<answer>"));
  EXPECT_THAT(example.user, HasSubstr("equals " + std::to_string(puzzle.target) + "."));
  EXPECT_THAT(example.user, HasSubstr(std::to_string(puzzle.numbers[0]) + ", " + std::to_string(puzzle.numbers[1])));
  const auto compact = CreateTask(QuickStart());
  const TaskExample symbols = (*compact)->Example(Split::kTest, 3).value();
  const CountdownPuzzle small = Puzzle(symbols);
  EXPECT_EQ(symbols.system, "");
  EXPECT_EQ(symbols.user, std::to_string(small.numbers[0]) + " " + std::to_string(small.numbers[1]) + " " +
                              std::to_string(small.numbers[2]) + "=" + std::to_string(small.target) + ":");
}

// What the configuration accepts there is a task for.
TEST(CreateTaskTest, KnowsEveryNameAndStyleThatTheConfigurationAccepts) {
  const auto accepted = [](const char* field) {
    const auto& options = config::TaskOptions::descriptor()->FindFieldByName(field)->options();
    return options.GetExtension(config::rule).one_of();
  };
  for (const std::string& name : accepted("name")) {
    for (const std::string& style : accepted("prompt_style")) {
      config::TaskOptions options;
      options.set_name(name);
      options.set_prompt_style(style);
      options.set_train_path("nowhere");  // of qa
      options.set_test_path("nowhere");
      EXPECT_NE(CreateTask(options).status().code(), absl::StatusCode::kUnimplemented) << name << ", " << style;
    }
  }
  EXPECT_GE(accepted("name").size(), 3);
}

TEST(CountdownTask, RefusesBadOptionsByName) {
  const auto error = [](const std::function<void(config::TaskOptions&)>& change) {
    config::TaskOptions options = Countdown();
    change(options);
    const auto task = CreateTask(options);
    EXPECT_EQ(task.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(task.status().message());
  };
  EXPECT_THAT(error([](auto& o) { o.set_name("chess"); }), HasSubstr("task.name is \"chess\""));
  EXPECT_THAT(error([](auto& o) { o.set_name(""); }), HasSubstr("task.name"));
  EXPECT_THAT(error([](auto& o) { o.set_train_size(0); }), HasSubstr("task.train_size"));
  EXPECT_THAT(error([](auto& o) { o.set_test_size(-1); }), HasSubstr("task.test_size"));
  EXPECT_THAT(error([](auto& o) { o.set_min_numbers(1); }), HasSubstr("task.min_numbers"));
  EXPECT_THAT(error([](auto& o) { o.set_min_numbers(5); }), HasSubstr("task.max_numbers"));
  EXPECT_THAT(error([](auto& o) { o.set_max_numbers(9); }), HasSubstr("task.max_numbers"));
  EXPECT_THAT(error([](auto& o) { o.set_max_number(0); }), HasSubstr("task.max_number"));
  EXPECT_THAT(error([](auto& o) { o.set_max_target(0); }), HasSubstr("task.max_target"));
  EXPECT_THAT(error([](auto& o) { o.set_format_reward(1.5); }), HasSubstr("task.format_reward"));
  EXPECT_THAT(error([](auto& o) { o.set_format_reward(std::nan("")); }), HasSubstr("task.format_reward"));
  EXPECT_THAT(error([](auto& o) { o.set_prompt_style("haiku"); }), HasSubstr("task.prompt_style"));
  EXPECT_THAT(error([](auto& o) { o.set_min_numbers(3), o.set_max_numbers(8), o.set_max_number(1000000); }),
              HasSubstr("task.test_size: found only "));
  EXPECT_THAT(error([](auto& o) { o.set_max_number(2), o.set_max_numbers(3); }), HasSubstr("task.test_size"));
}

}  // namespace
}  // namespace tactus
