#include "learner/learner.h"

#include <memory>
#include <optional>
#include <utility>

#include "common/base/exit_code.h"
#include "common/base/status_macros.h"
#include "learner/checkpoint/run_mirror.h"
#include "learner/coordinator.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

struct Parts {
  std::unique_ptr<Rank> rank;
  std::unique_ptr<Coordinator> coordinator;  // of rank 0
};

// What checkpoint.upload has and the folder has not: the disk of an earlier learner may have gone with its machine.
absl::Status FetchNewer(const LearnerOptions& options) {
  const std::string& uri = options.config->checkpoint().upload();
  if (!options.resume || uri.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<RunMirror> mirror, RunMirror::Open(uri));
  return mirror->Refresh(options.folder);
}

absl::StatusOr<Parts> MakeParts(LearnerOptions options, const std::atomic<bool>* stop) {
  std::optional<FolderLock> lock;  // before the checkpoints are read: a learner that still stops may write one more
  if (options.rank == 0) {
    absl::StatusOr<FolderLock> taken = LockCheckpoints(options.folder.checkpoints());
    // Whoever says --resume may have had a folder there, and lost its mount.
    if (!taken.ok()) return InPhase(options.resume ? Phase::kResuming : Phase::kStarting, taken.status());
    lock = *std::move(taken);
    RETURN_IF_ERROR(FetchNewer(options));
  }
  Parts parts;
  ASSIGN_OR_RETURN(parts.rank, Rank::Create(std::move(options), stop));
  std::optional<TrainFacts> resumed;
  if (parts.rank->options().resume) {
    ASSIGN_OR_RETURN(resumed, parts.rank->Restore());
  }
  RETURN_IF_ERROR(parts.rank->GatherWeights());
  RETURN_IF_ERROR(parts.rank->CompareParameters());
  if (lock.has_value()) {
    ASSIGN_OR_RETURN(parts.coordinator, Coordinator::Create(parts.rank.get(), *std::move(lock), std::move(resumed)));
  }
  return parts;
}

}  // namespace

absl::Status RunLearner(LearnerOptions options, const std::atomic<bool>* stop) {
  const bool begun = options.resume && HasBegun(options.folder.checkpoints());
  const Phase before = begun ? Phase::kResuming : Phase::kStarting;
  absl::StatusOr<Parts> parts = MakeParts(std::move(options), stop);
  if (!parts.ok()) return InPhase(before, parts.status());
  Rank& rank = *parts->rank;
  const int64_t first = rank.step();
  absl::Status status =
      rank.WhileReady([&] { return parts->coordinator == nullptr ? rank.Follow() : parts->coordinator->Run(); });
  return InPhase(rank.step() == first ? before : Phase::kWorking, std::move(status));
}

}  // namespace tactus
