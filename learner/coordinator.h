// What learner rank 0 has beside being a rank: the prompts, the ledger behind the rollout server, the weights that are
// published, the checkpoints and the records. It decides what all ranks do next.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/background_task.h"
#include "common/data/types.h"
#include "common/metrics/signal_watch.h"
#include "common/weights/background_publisher.h"
#include "common/weights/weight_publisher.h"
#include "learner/checkpoint/checkpoint_uploader.h"
#include "learner/checkpoint/checkpointer.h"
#include "learner/head_calibration.h"
#include "learner/held_out_rounds.h"
#include "learner/prompt_source.h"
#include "learner/rank.h"
#include "learner/records/run_recorder.h"
#include "learner/records/timeline_keeper.h"
#include "learner/rollout/grpc_rollout_server.h"

namespace grpc {
class Service;
}

namespace tactus {

// Owned by the rank's thread.
class Coordinator {
 public:
  // The other ranks are told at least this often that something is still awaited; and whether one was asked to stop is
  // heard.
  static constexpr absl::Duration kKeepAlive = absl::Seconds(5);

  // Serves actors and weights and opens the records. `rank` outlives it; `lock` is that of the run's checkpoints, and
  // `resumed` what the rank's knew. InvalidArgument / NotFound: the configuration or a file. FailedPrecondition: the
  // folder is another run's. Unavailable: the address is taken.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(Rank* rank, FolderLock lock,
                                                             std::optional<TrainFacts> resumed);
  ~Coordinator();

  // Trains until learner.steps are done, a stop is asked of any rank, the training has diverged or the next batch
  // cannot be had, then writes a checkpoint. After the last step the actors are told that the run is over; after a stop
  // they keep looking for a learner. Blocks. As Rank::Ending. After a stop, what is waited for is the step under way,
  // if all of its groups are in, else its micro-batch; a checkpoint, and its upload; and, to hear of another rank's
  // stop, kKeepAlive.
  absl::Status Run();

 private:
  static constexpr absl::Duration kWaitSlice = absl::Seconds(1);

  Coordinator(Rank* rank, HeadCalibration calibration, const std::optional<TrainFacts>& resumed);

  const LearnerOptions& options() const { return rank_.options(); }
  const config::RunConfig& config() const { return *rank_.options().config; }
  absl::StatusOr<std::optional<RolloutRestore>> OpenCheckpoints(FolderLock lock, std::optional<TrainFacts> resumed);
  absl::Status Serve(std::optional<RolloutRestore> restore);
  absl::Status OpenRecords();
  absl::Status WriteReadyFile() const;
  absl::Status FillPrompts();
  absl::StatusOr<std::vector<TrajectoryGroup>> NextGroups();
  absl::Status PutBack(std::vector<TrajectoryGroup> newest);
  absl::Status EndStep(PolicyVersion before, TakenStep taken);
  // None where every prompt is asked in its turn.
  std::optional<PromptTally> LearnDifficulty(const std::vector<TrajectoryGroup>& trained);
  // The name of each group's; none where there are no task.sources.
  std::vector<std::string> SourcesOf(const std::vector<TrajectoryGroup>& groups);
  // `count` says of a group how many of its rewards are not the verifier's.
  absl::Status CheckRewards(absl::string_view what, std::vector<TrajectoryGroup>& groups,
                            absl::FunctionRef<absl::StatusOr<int>(TrajectoryGroup&)> count);
  // Hands the parameters to the publishing thread.
  absl::Status PublishWeights();
  void ShowPublished(absl::Duration took);
  bool CheckpointDue() const;
  absl::Status Tell(StepOrder::Kind kind);
  absl::StatusOr<TrainFacts> Facts();
  absl::Status Checkpoint();
  absl::Status Save(TrainFacts facts, absl::Time start);
  absl::Status PollCheckpoint();
  absl::Status AwaitCheckpoint();
  absl::Status EndCheckpoint(const absl::Status& saved);
  absl::Status OpenUploads();
  absl::Status EndUploads();
  absl::Status End(absl::Status status);
  // Evaluations by the actors. On the publishing thread: blocks until none is under way, or its time is over.
  void AwaitMeasured();
  absl::Status AwaitRound();
  // Waits for that of the run's last version, if it is to, unless a stop is asked for.
  absl::Status EndHeldOut(bool wait);
  absl::Status PollHeldOut();
  absl::Status RecordHeldOut(PolicyVersion version, absl::Duration took, EvalAnswers answers);
  void KeepIfBest(const HeldOutRecord& record);

  Rank& rank_;
  HeadCalibration calibration_;
  std::unique_ptr<PromptSource> prompts_;
  std::unique_ptr<HeldOutRounds> rounds_;
  std::optional<HeldOutRecord> unkept_;  // the newest, where its checkpoint was not there
  uint64_t next_prompt_id_ = 0;

  // Of the step under way.
  absl::Time step_start_;
  double wait_s_ = 0;  // for groups
  TimelineKeeper timeline_;

  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<CheckpointUploader> uploader_;  // null: checkpoints stay here
  int64_t checkpointed_step_ = -1;
  double checkpoint_s_ = 0;  // that the newest kept the training waiting, until a step's record has it

  WeightPublisher publisher_;
  bool share_weights_;  // in GPU memory, for actors of this machine: where there is room
  std::atomic<uint64_t> weight_bytes_sent_{0};
  std::unique_ptr<grpc::Service> weight_service_;
  std::unique_ptr<RolloutServer> server_;            // after what it serves: destroyed first
  std::unique_ptr<BackgroundPublisher> publishing_;  // after the server, which it tells of what can be fetched
  std::unique_ptr<RunRecorder> recorder_;
  SignalWatch signal_;

  // The checkpoint that is being written.
  struct Saving {
    int64_t step = 0;
    std::shared_ptr<const double> write_s;  // once it has ended
    std::unique_ptr<BackgroundTask> task;
  };
  std::optional<Saving> saving_;  // the last: its thread uses the others
};

}  // namespace tactus
