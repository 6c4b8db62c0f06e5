#include "actor/head_class_history.h"

#include <gtest/gtest.h>

namespace tactus {
namespace {

const HeadClasses kA{.local = {0}, .global = {1}};
const HeadClasses kB{.local = {2}, .global = {1}};

const HeadClasses* Of(const HeadClassHistory& history, PolicyVersion version) {
  return history.Of(version).get();  // the history keeps it alive
}

TEST(HeadClassHistoryTest, EachVersionHasItsOwn) {
  HeadClassHistory history;
  EXPECT_EQ(Of(history, {0, 0}), nullptr);
  history.Add({0, 0}, std::nullopt);
  history.Add({0, 1}, kA);
  history.Add({0, 2}, kA);
  history.Add({0, 5}, kB);
  history.Add({1, 2}, kA);  // a restore: the incarnation counts first
  EXPECT_EQ(Of(history, {0, 0}), nullptr);
  EXPECT_EQ(*Of(history, {0, 1}), kA);
  EXPECT_EQ(*Of(history, {0, 2}), kA);
  EXPECT_EQ(*Of(history, {0, 5}), kB);
  EXPECT_EQ(*Of(history, {1, 2}), kA);
}

TEST(HeadClassHistoryTest, ForgetsWhatNobodyNeeds) {
  HeadClassHistory history;
  history.Add({0, 1}, kA);
  history.Add({0, 2}, kA);
  history.Add({0, 3}, kB);
  history.Add({0, 4}, kA);
  history.Forget({0, 2});
  EXPECT_EQ(*Of(history, {0, 2}), kA);
  EXPECT_EQ(*Of(history, {0, 3}), kB);
  const std::shared_ptr<const HeadClasses> held = history.Of({0, 3});
  history.Forget({0, 4});
  EXPECT_EQ(Of(history, {0, 3}), nullptr) << "nothing would bound the history";
  EXPECT_EQ(*Of(history, {0, 4}), kA);
  EXPECT_EQ(*held, kB) << "a finished completion keeps its own";
}

}  // namespace
}  // namespace tactus
