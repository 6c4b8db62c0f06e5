// A job whose actors pass weights on: the learner sends each version once, and no bit depends on it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <regex>

#include "tests/base/http_client.h"
#include "tests/e2e/job.h"

namespace tactus {
namespace {

constexpr int kActors = 4;

std::string LogOf(const Job& job, const std::string& process) {
  return ReadFile(job.folder().logs() + "/" + process + ".log").value_or("");
}

double ValueIn(const std::string& text, const std::string& series) {
  const size_t at = text.find("\n" + series + " ");
  return at == std::string::npos ? 0 : std::atof(text.c_str() + at + series.size() + 2);
}

// A whole job, and how many copies of the weights its learner sent.
struct Relayed {
  std::string weights;
  double copies = 0;
  int relays = 0;

  explicit Relayed(const std::string& fan_out) {
    Job job("relay_" + fan_out, {"--actors", std::to_string(kActors), "--set", "service.relay_fan_out=" + fan_out});
    std::string scrape;
    const int code = job.Wait([&] {
      static const std::regex kAddress("serving metrics at http://([0-9.:]+)/metrics");
      const std::string log = LogOf(job, "learner-0");
      std::smatch match;
      if (!std::regex_search(log, match, kAddress)) return;
      const std::string now = HttpBody(HttpGet(match[1].str(), "/metrics"));
      if (!now.empty()) scrape = now;
    });
    EXPECT_EQ(code, 0);
    weights = job.WeightsHash();
    copies = ValueIn(scrape, "tactus_weight_transfer_bytes_total") /
             ValueIn(scrape, "tactus_weight_set_bytes{form=\"full\"}");
    for (int actor = 0; actor < kActors; ++actor) {
      const std::string log = LogOf(job, "actor-" + std::to_string(actor));
      relays += log.find("passing weights on at") != std::string::npos;
    }
  }
};

TEST(RelayE2eTest, TheLearnerSendsAVersionOnceAndNoBitDependsOnIt) {
  const Relayed off("0"), on("2");
  EXPECT_EQ(on.weights, off.weights);
  EXPECT_EQ(off.relays, 0);
  EXPECT_EQ(on.relays, kActors);
  constexpr int kVersions = Job::kDefaultSteps + 1;
  EXPECT_GT(on.copies, 0);
  EXPECT_LE(on.copies, kVersions + 2) << "an actor whose parent is late goes to the learner";
  EXPECT_GT(off.copies, 2 * kVersions);
}

}  // namespace
}  // namespace tactus
