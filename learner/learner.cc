#include "learner/learner.h"

#include <memory>
#include <optional>
#include <utility>

#include "common/base/status_macros.h"
#include "learner/coordinator.h"

namespace tactus {

absl::Status RunLearner(LearnerOptions options, const std::atomic<bool>* stop) {
  std::optional<FolderLock> lock;  // before the checkpoints are read: a learner that still stops may write one more
  if (options.rank == 0) {
    ASSIGN_OR_RETURN(lock, LockCheckpoints(options.folder.checkpoints()));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Rank> rank, Rank::Create(std::move(options), stop));
  std::optional<TrainFacts> resumed;
  if (rank->options().resume) {
    ASSIGN_OR_RETURN(resumed, rank->Restore());
  }
  if (rank->options().rank != 0) return rank->WhileReady([&] { return rank->Follow(); });
  ASSIGN_OR_RETURN(const std::unique_ptr<Coordinator> coordinator,
                   Coordinator::Create(rank.get(), *std::move(lock), std::move(resumed)));
  return rank->WhileReady([&] { return coordinator->Run(); });
}

}  // namespace tactus
