// Checkpoints of a run: written beside the training, and copied elsewhere where the configuration says so.
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/config/run_config.h"
#include "common/config/storage_dtype.h"
#include "common/metrics/build_info.h"
#include "learner/coordinator.h"
#include "proto/config.pb.h"

namespace tactus {

// Where the ledger goes on; nullopt in a folder that no learner has served from, where there is nothing to restore:
// --resume may stand on a run's first start too.
absl::StatusOr<std::optional<RolloutRestore>> Coordinator::OpenCheckpoints(FolderLock lock,
                                                                           std::optional<TrainFacts> resumed) {
  ASSIGN_OR_RETURN(checkpointer_,
                   Checkpointer::Open(std::move(lock), {.folder = options().folder.checkpoints(),
                                                        .keep = config().checkpoint().keep(),
                                                        .model = rank_.model(),
                                                        .model_dtype = StorageDTypeOf(config().model().dtype())}));
  RETURN_IF_ERROR(OpenUploads());
  if (!options().resume || (!resumed.has_value() && checkpointer_->incarnation() == 0)) return std::nullopt;
  RolloutRestore restore;
  restore.incarnation = checkpointer_->incarnation();
  if (resumed.has_value()) restore.snapshot = std::move(resumed->ledger);
  for (const uint64_t id : restore.snapshot.open_prompt_ids) {
    ASSIGN_OR_RETURN(restore.prompts.emplace_back(), prompts_->At(id));
  }
  return restore;
}

bool Coordinator::CheckpointDue() const {
  const int every = config().checkpoint().every_steps();
  return every > 0 && rank_.step() % every == 0;
}

absl::StatusOr<TrainFacts> Coordinator::Facts() {
  const StepCounts& counts = rank_.trainer().counts();
  TrainFacts facts{.version = rank_.version(),
                   .optimizer_steps = counts.taken,
                   .skipped_steps = counts.skipped,
                   .schedule_step = counts.taken + counts.skipped,
                   .learner_step = rank_.step(),
                   .planned_steps = config().learner().steps(),
                   .data_cursor = next_prompt_id_,
                   .seed = config().seed(),
                   .config_fingerprint = config::Fingerprint(config()),
                   .data_fingerprint = prompts_->fingerprint(),
                   .tactus_version = ThisBuild().version,
                   .ledger = {},
                   .head_classes = calibration_.classes(),
                   .prompt_difficulty = prompts_->difficulty().Save()};
  ASSIGN_OR_RETURN(facts.ledger, server_->Snapshot());
  return facts;
}

// All that belongs to this moment is taken now, and written while the training goes on. A disk that is slower than the
// checkpoints follow each other makes the next one wait.
absl::Status Coordinator::Checkpoint() {
  const absl::Time asked = MonotonicNow();
  RETURN_IF_ERROR(AwaitCheckpoint());
  const absl::Time start = MonotonicNow();
  RETURN_IF_ERROR(recorder_->Sync());
  ASSIGN_OR_RETURN(TrainFacts facts, Facts());
  RETURN_IF_ERROR(checkpointer_->Begin(facts.version.step));  // before a rank writes into it
  absl::Status told = Tell(StepOrder::Kind::kSave);
  if (told.ok()) told = rank_.CompareParameters();
  // Rank 0 writes without the others where it has all of the optimizer and they are gone.
  const bool alone = !told.ok() && !absl::IsFailedPrecondition(told) && !rank_.sharded();
  absl::Status saving = alone ? absl::OkStatus() : told;
  const uint64_t step = facts.version.step;
  if (saving.ok()) saving = Save(std::move(facts), start);
  if (!saving.ok()) {
    checkpointer_->Abandon(step);
    return saving;
  }
  rank_.metrics().Observe(Metric::kCheckpointDuration, SecondsSince(start), "snapshot");
  checkpoint_s_ = SecondsSince(asked);
  rank_.metrics().Add(Metric::kLearnerPhaseSeconds, checkpoint_s_, "checkpoint");
  return told;
}

absl::Status Coordinator::Save(TrainFacts facts, absl::Time start) {
  ASSIGN_OR_RETURN(WeightBytes weights, rank_.ReadWeights());  // those that were published
  ASSIGN_OR_RETURN(std::function<absl::Status()> write_share, rank_.ShareWriter());
  const auto write_s = std::make_shared<double>();
  Saving next{.step = rank_.step(), .write_s = write_s, .task = nullptr};
  ASSIGN_OR_RETURN(
      next.task,
      BackgroundTask::Start("writing checkpoints", [this, facts = std::move(facts), start, write_s,
                                                    world = rank_.share_writers(), write_share = std::move(write_share),
                                                    weights = std::move(weights)](const std::atomic<bool>& give_up) {
        absl::Status saved = write_share();
        if (saved.ok()) {
          saved = checkpointer_->Finish(facts, *weights, world, give_up);
        } else {
          checkpointer_->Abandon(facts.version.step);
        }
        *write_s = SecondsSince(start);
        return saved;
      }));
  saving_ = std::move(next);
  return absl::OkStatus();
}

absl::Status Coordinator::PollCheckpoint() {
  if (!saving_.has_value()) return absl::OkStatus();
  const std::optional<absl::Status> ended = saving_->task->Wait(absl::ZeroDuration());
  return ended.has_value() ? EndCheckpoint(*ended) : absl::OkStatus();
}

// However long the disk takes: the other ranks are told that they are still wanted. Of those that are gone a share may
// never come.
absl::Status Coordinator::AwaitCheckpoint() {
  absl::Time told = MonotonicNow();
  absl::Status others;
  while (saving_.has_value()) {
    const std::optional<absl::Status> ended = saving_->task->Wait(kWaitSlice);
    if (ended.has_value()) {
      others.Update(EndCheckpoint(*ended));
      return others;
    }
    if (MonotonicNow() - told < kKeepAlive) continue;
    TACTUS_LOG(INFO) << "the checkpoint of step " << saving_->step << " is still being written";
    if (others.ok()) others = Tell(StepOrder::Kind::kWait);
    if (!others.ok() && rank_.sharded()) saving_.reset();
    told = MonotonicNow();
  }
  return others;
}

absl::Status Coordinator::EndCheckpoint(const absl::Status& saved) {
  const Saving ended = *std::exchange(saving_, std::nullopt);
  MetricSet& metrics = rank_.metrics();
  metrics.Add(Metric::kCheckpoints, 1, saved.ok() ? "written" : "failed");
  RETURN_IF_ERROR(saved);
  const absl::Time start = MonotonicNow();
  RETURN_IF_ERROR(server_->TruncateLog(checkpointer_->OldestLogSegment()));
  checkpointed_step_ = ended.step;
  metrics.Observe(Metric::kCheckpointDuration, *ended.write_s, "write");
  metrics.Observe(Metric::kCheckpointDuration, SecondsSince(start), "truncate");
  metrics.Set(Metric::kCheckpointLastSuccess, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  if (unkept_.has_value() && unkept_->step == ended.step) KeepIfBest(HeldOutRecord(*unkept_));
  if (uploader_ != nullptr) uploader_->Offer(static_cast<uint64_t>(ended.step));
  return absl::OkStatus();
}

// Before actors are served: no other learner that has the mirror's incarnation then does.
absl::Status Coordinator::OpenUploads() {
  const config::CheckpointOptions& checkpoint = config().checkpoint();
  if (checkpoint.upload().empty()) return absl::OkStatus();
  const auto tried = [&metrics = rank_.metrics()](const absl::Status& status) {
    metrics.Add(Metric::kCheckpoints, 1, status.ok() ? "uploaded" : "upload_failed");
    if (status.ok()) metrics.Set(Metric::kCheckpointLastUpload, absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()));
  };
  ASSIGN_OR_RETURN(uploader_, CheckpointUploader::Start({.folder = options().folder,
                                                         .uri = checkpoint.upload(),
                                                         .keep = checkpoint.keep(),
                                                         .resumed = options().resume},
                                                        tried));
  const std::vector<std::string> there = ListCheckpoints(options().folder.checkpoints());
  if (!there.empty()) uploader_->Offer(*CheckpointStep(there.front()));
  return absl::OkStatus();
}

// What is not in the mirror at the end may be lost with this machine, so a run does not end well without it.
absl::Status Coordinator::EndUploads() {
  if (uploader_ == nullptr) return absl::OkStatus();
  TACTUS_LOG(INFO) << "waiting until the newest checkpoint is uploaded";
  const std::atomic<bool> never = false;
  const absl::Status ended = uploader_->Await(never);
  uploader_.reset();
  if (ended.ok()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("the newest checkpoint is in ", options().folder.checkpoints(), " alone: ", ended.message()));
}

}  // namespace tactus
