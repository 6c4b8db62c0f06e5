// simulate FIRST COUNT: simulates seeds FIRST to FIRST + COUNT - 1, twice each tenth of them. Exit code 1 at the first
// in which something did not hold, with its story; the same seed tells it again.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/numbers.h"
#include "tests/learner/simulation/simulation.h"

int main(int argc, char** argv) {
  uint64_t first = 0, count = 0;
  if (argc != 3 || !absl::SimpleAtoi(argv[1], &first) || !absl::SimpleAtoi(argv[2], &count)) {
    std::fprintf(stderr, "usage: simulate FIRST COUNT\n");
    return 2;
  }
  // What the parts log about faults is what was asked for.
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null < 0 || ::dup2(null, STDERR_FILENO) < 0) return 2;
  int64_t steps = 0, crashes = 0, dropped = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const tactus::SimulationResult result = tactus::Simulate(seed);
    if (!result.violation.empty()) {
      std::printf("%s\nseed %llu: %s\n", result.story.c_str(), static_cast<unsigned long long>(seed),
                  result.violation.c_str());
      return 1;
    }
    if (seed % 10 == 0 && tactus::Simulate(seed).hash != result.hash) {
      std::printf("seed %llu gives another history each time\n", static_cast<unsigned long long>(seed));
      return 1;
    }
    steps += result.steps;
    crashes += result.crashes;
    dropped += result.dropped;
  }
  std::printf("%llu seeds: %lld steps, %lld crashes of the learner, %lld prompts dropped, nothing violated\n",
              static_cast<unsigned long long>(count), static_cast<long long>(steps), static_cast<long long>(crashes),
              static_cast<long long>(dropped));
  return 0;
}
