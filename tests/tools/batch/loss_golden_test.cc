// `tactus loss` against scripts/goldens/loss_goldens.py, which works out every estimator x loss x correction from its
// definition in 50 digits, with a gradient that comes from the graph of the loss.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "common/base/file.h"
#include "tests/tree.h"
#include "tools/batch/loss_jsonl.h"

namespace tactus {
namespace {

using Json = nlohmann::json;

constexpr double kTolerance = 1e-10;

double Apart(double got, double expected, double scale) {
  return std::abs(got - expected) / std::max({1.0, std::abs(expected), scale});
}

TEST(LossGoldenTest, EveryCombinationEqualsItsDefinition) {
  const auto text = ReadFile(SourcePath("tests/goldens/loss/cases.json"));
  ASSERT_TRUE(text.ok()) << text.status();
  const Json golden = Json::parse(*text);
  size_t bonuses = 0;  // tokens with an entropy bonus
  std::set<std::tuple<Json, Json, Json, Json, Json>> seen;
  for (const Json& given : golden["cases"]) {
    Json line = given;
    line.erase("expected");
    line.erase("batch");
    line.update(golden["batches"][given["batch"].get<std::string>()]);
    line["id"] = 1;
    SCOPED_TRACE(given.dump());
    seen.emplace(given["batch"], given["estimator"], given["loss"], given.value("tis_level", Json()),
                 given.value("tis_rule", Json()));
    const auto result = LossLine(line.dump(), "case");
    ASSERT_TRUE(result.ok()) << result.status();
    const Json got = Json::parse(*result), &expected = given["expected"];
    ASSERT_LE(Apart(got["loss"], expected["loss"], expected["size"]), kTolerance) << got["loss"];
    const Json got_advantages = got["advantages"].flatten(), advantages = expected["advantages"].flatten();
    ASSERT_EQ(got_advantages.size(), advantages.size());
    double largest = 0;  // of the advantages: what they are differences of
    for (const Json& advantage : advantages) largest = std::max(largest, std::abs(advantage.get<double>()));
    for (const auto& [place, advantage] : advantages.items()) {
      ASSERT_TRUE(got_advantages.contains(place)) << place;
      ASSERT_LE(Apart(got_advantages[place], advantage, largest), kTolerance) << place;
    }
    for (size_t b = 0; b < expected["grad"].size(); ++b) {
      for (size_t t = 0; t < expected["grad"][b].size(); ++t) {
        ASSERT_LE(Apart(got["grad"][b][t], expected["grad"][b][t], largest), kTolerance) << b << ", " << t;
        if (!expected.contains("grad_entropy")) continue;
        ASSERT_LE(Apart(got["grad_entropy"][b][t], expected["grad_entropy"][b][t], 0), kTolerance) << b << ", " << t;
        ++bonuses;
      }
    }
  }
  EXPECT_GT(bonuses, 1000u);
  size_t ordinary = 0, extreme = 0, turns = 0;
  for (const auto& combination : seen) {
    ordinary += std::get<0>(combination) == "ordinary" ? 1 : 0;
    extreme += std::get<0>(combination) == "extreme" ? 1 : 0;
    turns += std::get<0>(combination) == "turns" ? 1 : 0;
  }
  EXPECT_EQ(ordinary, 5u * 3 * 7) << "estimators x losses x corrections";
  EXPECT_EQ(extreme, 5u * 3 * 7) << "ratios of e^+-50";
  EXPECT_EQ(turns, 5u * 3 * 7) << "conversations";
}

}  // namespace
}  // namespace tactus
