// Numbers in every dress, against math-verify; see scripts/goldens/number_verdicts.py.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "common/tasks/answer_verifier.h"
#include "tests/tree.h"

namespace tactus {
namespace {

bool Right(const std::string& reference, const std::string& completion) {
  const auto reward = AnswerVerifier(0.05).Score(AnswerKey(reference), completion);
  EXPECT_TRUE(reward.ok()) << reward.status();
  return reward.ok() && reward->correct == 1;
}

TEST(NumberVerdicts, AreThoseOfMathVerify) {
  std::ifstream file(SourcePath("tests/goldens/tasks/number_verdicts.jsonl"));
  int cases = 0, right = 0, refused = 0, different = 0;
  std::set<std::string> reasons;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    const std::string text = golden["text"], reference = golden["reference"];
    const bool theirs = golden["right"];
    const bool expected = golden.value("tactus", theirs);
    if (expected != theirs) {
      ++different;
      reasons.insert(golden["why"].get<std::string>());
    }
    ++(expected ? right : refused);
    // Whatever mark it stands in, or none.
    for (const std::string& completion :
         {text, "So <answer>" + text + "</answer>", "We get $\\boxed{" + text + "}$."}) {
      EXPECT_EQ(Right(reference, completion), expected)
          << "line " << cases + 1 << ": reference " << reference << ", answer " << completion;
    }
  }
  EXPECT_GE(cases - different, 1000);
  EXPECT_GE(right, 400);
  EXPECT_GE(refused, 400);
  EXPECT_LE(reasons.size(), 7u);
}

}  // namespace
}  // namespace tactus
