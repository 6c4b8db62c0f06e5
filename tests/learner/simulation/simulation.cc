#include "tests/learner/simulation/simulation.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/learner/simulation/world.h"

namespace tactus {

void Simulation::Tell(std::string line) {
  line = absl::StrCat(now_ms_, " ms  ", line);
  for (const char c : line) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  story_.push_back(std::move(line));
  if (story_.size() > kStoryLines) story_.pop_front();
}

SimulationResult Simulation::Run() {
  options_ = {.prompts_per_step = 1 + static_cast<int>(Below(4)),
              .completions_per_prompt = kTestLimits.completions_per_prompt,
              .max_staleness_steps = static_cast<int>(Below(4)),
              .lease_timeout = absl::Seconds(4 + static_cast<int>(Below(16))),
              .max_attempts = Below(3) == 0 ? 0 : 2 + static_cast<int>(Below(3))};
  poison_ = options_.max_attempts > 0 && Below(2) == 0;
  fan_out_ = static_cast<int>(Below(4));
  const bool soon_calm = Below(3) == 0;
  faults_end_ms_ = soon_calm ? 40'000 : 240'000;
  target_steps_ = (soon_calm ? 40 : 10) + static_cast<int64_t>(Below(20));
  checkpoint_every_ = 1 + static_cast<int>(Below(5));
  disk_.fails = [this] { return Chance(150); };
  actors_.resize(1 + static_cast<size_t>(Below(5)));
  StartLearner();
  for (size_t i = 0; i < actors_.size(); ++i) StartActor(static_cast<int>(i));
  while (violation_.empty() && history_.steps < target_steps_) {
    if (events_.empty() || events_.begin()->first.first > kEndMs) {
      Expect(false, "no progress");
      break;
    }
    auto event = events_.extract(events_.begin());
    now_ms_ = event.key().first;
    event.mapped()();
  }
  SimulationResult result{.violation = violation_,
                          .story = absl::StrJoin(story_, "\n"),
                          .hash = hash_,
                          .steps = history_.steps,
                          .crashes = crashes_};
  if (learner_ != nullptr) {
    absl::MutexLock lock(&learner_->mu);
    result.dropped = learner_->ledger.counters().prompts_dropped;
  }
  return result;
}

SimulationResult Simulate(uint64_t seed) { return Simulation(seed).Run(); }

}  // namespace tactus
