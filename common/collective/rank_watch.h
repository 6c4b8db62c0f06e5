// Who is in the group, and who is missing when it fails: told by a board that every rank writes to, whatever the
// library that moves the numbers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/rank_board.h"

namespace tactus {

// Waits on the board for every rank of the world; gives the `place` each told (a GPU, say), by rank.
// Unavailable: names the ranks that did not come within `timeout`. AlreadyExists: this is the second process of this
// rank. InvalidArgument: a rank was started for another world, or the group cannot be complete because another rank was
// refused.
absl::StatusOr<std::vector<std::string>> MeetRanks(RankBoard& board, int rank, int world, const std::string& place,
                                                   absl::Duration timeout);

// This rank's record on the board, renewed by a thread of its own as a sign of life, and the reading of the others'.
// Any thread may call any method. Failing to reach the board is no error of these calls.
class RankWatch {
 public:
  struct Options {
    int rank = 0;
    int world = 1;
    absl::Duration beat = absl::Milliseconds(200);    // between signs of life
    absl::Duration grace = absl::Milliseconds(1500);  // a rank silent for so long is taken for dead
  };

  RankWatch(const Options& options, std::shared_ptr<RankBoard> board);
  // Tells the others that this rank has left, unless it had failed. Does not wait for a board that hangs: the thread is
  // left behind with it.
  ~RankWatch();
  RankWatch(const RankWatch&) = delete;
  RankWatch& operator=(const RankWatch&) = delete;

  // From now on: `give_up` is called once, on the thread, within a beat of another rank's Failed or Aborted, or a few
  // beats after the board has gone, and rank 0 with it. Not all libraries notice a rank that is gone. Never during or
  // after the destructor.
  void OnTrouble(std::function<void()> give_up);
  // `what` tells one operation from another, with its size. Only noted, the others read of it within a beat: it is
  // called for every operation, and does not wait for the board.
  void Arrived(int64_t sequence, const std::string& what);
  void Aborted();
  void Failed();
  // After Failed: who is to blame that this operation failed on this rank, one clause; `what` as it was given to
  // Arrived, or "" for none. Blocks for little more than the grace; rank 0 stays so long for the others to read.
  std::string WhoIsMissing(int64_t sequence, const std::string& what);

 private:
  struct Record;
  class Pulse;
  const Options options_;
  const std::shared_ptr<Pulse> pulse_;  // shared with the thread
};

}  // namespace tactus
