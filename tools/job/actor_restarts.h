// When an actor that died is started again, and when that has become hopeless. Reads no clock. Not thread-safe.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/time/time.h"
#include "common/base/back_off.h"

namespace tactus {

class ActorRestarts {
 public:
  // Deaths of one actor between two steps that are too many, if all others die as often.
  static constexpr int kMaxDeaths = 20;

  explicit ActorRestarts(size_t actors) : actors_(actors) {}

  // Actor `index` died after it had `lived`; the pause until its next start: 1, 2, 4, ... 30 s, from the beginning
  // after a life of a minute.
  absl::Duration Died(size_t index, absl::Duration lived);
  // A step was trained, so some actor works.
  void Stepped();

  // Every actor has died more than kMaxDeaths times since the last step. While one of them lives this is never so.
  bool Hopeless() const;
  int total() const { return total_; }  // deaths

 private:
  struct Actor {
    BackOff pauses{absl::Seconds(1), absl::Seconds(30), /*jitter=*/false};
    int deaths = 0;  // since the last step
  };
  std::vector<Actor> actors_;
  int total_ = 0;
};

}  // namespace tactus
