// Where the time of a pass goes: what each part took, round by round, beside the least it could have taken.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "bench/figures.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {

// Seconds since some moment. Of one thread those in which it had a core: what other users of the machine take away does
// not count. Of several, which wait for each other, by the clock on the wall.
inline double ProfileNow() {
  timespec now{};
  ::clock_gettime(ops::Threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Of one of `repeats` calls.
inline double ProfileSecondsOf(const Run& run, int repeats) {
  const double start = ProfileNow();
  for (int i = 0; i < repeats; ++i) run();
  return (ProfileNow() - start) / repeats;
}

// What a part cannot do without. Bytes of weights and of keys and values, which every step reads from memory, apart
// from those of activations, which the cache may have.
struct PartCost {
  double operations = 0;
  double memory_bytes = 0;
  double cache_bytes = 0;
};

// A machine's limits, a second, all threads together.
struct Limits {
  double operations = 0;
  double memory_bytes = 0;
  double cache_bytes = 0;

  // The least seconds, and which limit says so.
  std::pair<double, const char*> Least(const PartCost& cost) const {
    std::pair<double, const char*> least(cost.operations / operations, "arithmetic");
    least = std::max(least, {cost.memory_bytes / memory_bytes, "memory"}, Less);
    return std::max(least, {cost.cache_bytes / cache_bytes, "cache"}, Less);
  }

 private:
  static bool Less(const std::pair<double, const char*>& a, const std::pair<double, const char*>& b) {
    return a.first < b.first;
  }
};

// One thread's; the parts' work runs on all of the process's threads.
class Recorder {
 public:
  // Runs fn as the part `name`.
  template <typename Fn>
  decltype(auto) Time(const std::string& name, const PartCost& cost, Fn&& fn) {
    const Timing timing(*this, name, cost);
    return std::forward<Fn>(fn)();
  }

  // Ends a round that took `seconds`: parts before it is called are of this one.
  void EndRound(double seconds) {
    double told = 0;
    for (auto& [name, part] : parts_) {
      told += part.seconds;
      part.rounds.push_back(part.seconds);
      part.idle_rounds.push_back(part.idle);
      part.seconds = part.idle = 0;
      part.calls = std::exchange(part.calls_now, 0);
      part.cost = std::exchange(part.cost_now, {});
    }
    rounds_.push_back(seconds);
    rest_.push_back(seconds - told);
  }
  // Forgets what there is: after warming up.
  void Clear() { *this = Recorder(); }

  // A line for each part, one for the rest and one for the whole, each with what is in `about`.
  std::vector<nlohmann::json> Lines(const nlohmann::json& about, const Limits& limits) const {
    std::vector<nlohmann::json> lines;
    const auto line = [&](const std::string& what, const std::vector<double>& seconds) {
      nlohmann::json one = about;
      one["what"] = what;
      one["seconds"] = Spread(seconds);
      lines.push_back(one);
    };
    for (const auto& [name, part] : parts_) {
      line(name, part.rounds);
      const auto [least, limit] = limits.Least(part.cost);
      lines.back().update({{"calls", part.calls}, {"roof", limit}, {"roof_seconds", least}});
      const double threads_seconds = ops::Threads() * Spread(part.rounds)["median"].get<double>();
      lines.back()["idle_share"] = Spread(part.idle_rounds)["median"].get<double>() / threads_seconds;
    }
    line("rest", rest_);
    line("whole", rounds_);
    return lines;
  }

 private:
  struct Part {
    double seconds = 0, idle = 0;  // of this round; idle: of all threads together, not computing this part
    int64_t calls = 0, calls_now = 0;
    PartCost cost, cost_now;  // of a round
    std::vector<double> rounds, idle_rounds;
  };

  // From its beginning to its end is a call of a part.
  class Timing {
   public:
    Timing(Recorder& recorder, const std::string& name, const PartCost& cost)
        : part_(recorder.parts_[name]), before_(ops::ParallelTimesSoFar()), start_(ProfileNow()) {
      part_.cost_now.operations += cost.operations;
      part_.cost_now.memory_bytes += cost.memory_bytes;
      part_.cost_now.cache_bytes += cost.cache_bytes;
    }
    ~Timing() {
      const double seconds = ProfileNow() - start_;
      const ops::ParallelTimes after = ops::ParallelTimesSoFar();
      const double computing = static_cast<double>(after.computing_ns - before_.computing_ns) * 1e-9,
                   alone = seconds - static_cast<double>(after.inside_ns - before_.inside_ns) * 1e-9;
      part_.seconds += seconds;
      part_.idle += seconds * ops::Threads() - computing - alone;
      ++part_.calls_now;
    }
    Timing(const Timing&) = delete;
    Timing& operator=(const Timing&) = delete;

   private:
    Part& part_;
    const ops::ParallelTimes before_;
    const double start_;
  };

  std::map<std::string, Part> parts_;
  std::vector<double> rounds_, rest_;
};

}  // namespace tactus
