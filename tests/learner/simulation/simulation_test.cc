// The simulation finds nothing in the code, and each of the faults that were put into copies of it.
#include "tests/learner/simulation/simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

struct Output {
  int code = -1;
  std::string text;
};

Output Execute(const std::string& program, int seeds) {
  const std::string command = absl::StrCat(BuildPath("simulations/" + program), " 0 ", seeds);
  Output output;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return output;
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.text.append(buffer, n);
  output.code = WEXITSTATUS(::pclose(pipe));
  return output;
}

TEST(Simulation, HoldsFor500Seeds) {
  const Output output = Execute("simulate", 500);
  EXPECT_EQ(output.code, 0) << output.text;
  EXPECT_THAT(output.text, HasSubstr("500 seeds"));
}

TEST(Simulation, ASeedGivesTheSameHistoryAgain) {
  const SimulationResult first = Simulate(7), again = Simulate(7), other = Simulate(8);
  EXPECT_EQ(first.hash, again.hash);
  EXPECT_EQ(first.story, again.story);
  EXPECT_NE(first.hash, other.hash);
}

class Mutant : public ::testing::TestWithParam<const char*> {};

TEST_P(Mutant, IsFoundWithin1000Seeds) {
  const Output output = Execute(absl::StrCat("simulate_", GetParam()), 1000);
  EXPECT_EQ(output.code, 1) << output.text;
  EXPECT_THAT(output.text, HasSubstr("seed "));
}

INSTANTIATE_TEST_SUITE_P(Faults, Mutant,
                         ::testing::Values("acknowledges_before_sync", "forgets_repeats", "frees_slots_early",
                                           "leases_for_old_weights", "loses_a_wake_up", "names_stale_parents"),
                         [](const auto& fault) { return std::string(fault.param); });

}  // namespace
}  // namespace tactus
