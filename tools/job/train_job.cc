#include "tools/job/train_job.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/exit_code.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/listen_socket.h"
#include "common/base/monotonic_clock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/base/strict_json.h"
#include "proto/config.pb.h"
#include "tools/job/run_end.h"
#include "tools/job/train_eval.h"
#include "tools/report/html_page.h"
#include "tools/report/report.h"

namespace tactus {
namespace {

constexpr absl::Duration kReadyTimeout = absl::Minutes(10);
constexpr absl::Duration kCheckpointTimeout = absl::Minutes(10);
constexpr absl::Duration kActorStopTimeout = absl::Seconds(10);
constexpr absl::Duration kDrainedPause = absl::Seconds(10);
constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr int kTailLines = 15;

std::string RankName(size_t rank) { return absl::StrCat("learner-", rank); }
std::string ActorName(size_t index) { return absl::StrCat("actor-", index); }

absl::Status Died(const ChildProcess& process, const std::string& name, int exit_code) {
  return ErrorOfExit(name, exit_code,
                     absl::StrCat("; the end of ", process.log_path(), ":\n", LogTail(process.log_path(), kTailLines)));
}

}  // namespace

TrainJob::TrainJob(TrainJobOptions options)
    : options_(std::move(options)),
      display_({.title = options_.config->service().run_id(),
                .total_steps = options_.config->learner().steps(),
                .terminal = options_.terminal}),
      follower_(options_.folder.metrics()),
      signal_(options_.config->rollout().max_completion_tokens()),
      targets_(options_.folder.targets(), options_.config->service().run_id()),
      started_(MonotonicNow()),
      ready_file_(absl::StrCat(options_.folder.logs(), "/learner-0.ready")),
      actors_(static_cast<size_t>(options_.actors)),
      restarts_(actors_.size()) {}

TrainJob::~TrainJob() = default;

absl::Status TrainJob::StartLearners() {
  RETURN_IF_ERROR(RemoveFile(ready_file_));
  ASSIGN_OR_RETURN(const int store_port, FreePort());
  for (size_t rank = 0; rank < static_cast<size_t>(options_.learners); ++rank) {
    std::vector<std::string> argv = {absl::StrCat(options_.binary_folder, "/tactus-learner"),
                                     "--config",
                                     options_.folder.config(),
                                     "--out",
                                     options_.folder.root,
                                     "--rank",
                                     absl::StrCat(rank),
                                     "--world",
                                     absl::StrCat(options_.learners),
                                     "--store",
                                     absl::StrCat("127.0.0.1:", store_port)};
    if (rank < options_.devices.learners.size()) {
      argv.insert(argv.end(), {"--device", options_.devices.learners[rank].device.Text()});
    }
    if (rank == 0) {
      argv.insert(argv.end(), {"--ready-file", ready_file_});
    } else {  // on the same machine as rank 0, whose address the configuration has
      argv.insert(argv.end(), {"--metrics-listen", "127.0.0.1:0"});
    }
    if (options_.resume) argv.push_back("--resume");
    ASSIGN_OR_RETURN(std::unique_ptr<ChildProcess> process,
                     ChildProcess::Start(argv, absl::StrCat(options_.folder.logs(), "/", RankName(rank), ".log")));
    learners_.push_back(std::move(process));
  }
  return absl::OkStatus();
}

absl::Status TrainJob::AwaitLearner() {
  const absl::Time deadline = MonotonicNow() + kReadyTimeout;
  while (!Exists(ready_file_)) {
    bool done = false;
    RETURN_IF_ERROR(CheckLearners(&done));
    if (done) return absl::OkStatus();  // nothing left to train, and it has said so
    if (StopSignalCount() > 0) return absl::OkStatus();
    if (MonotonicNow() > deadline) {
      return absl::InternalError(absl::StrCat("the learner was not ready after ", absl::FormatDuration(kReadyTimeout),
                                              "; see ", options_.folder.logs(), "."));
    }
    absl::SleepFor(kTick);
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(ready_file_, 4096));
  const auto read = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, ready_file_));
    JSON_MEMBER(learner_address_, JsonField(json, ready_file_), "listen", String());
    JSON_MEMBER(metrics_address_, JsonField(json, ready_file_), "metrics", String());
    return absl::OkStatus();
  };
  const absl::Status status = read();
  return status.ok() ? status : absl::InternalError(status.message());  // our own process wrote it
}

std::string TrainJob::ActorReadyFile(size_t index) const {
  return absl::StrCat(options_.folder.logs(), "/", ActorName(index), ".ready");
}

// Once a second: who exposes metrics where. That nobody can read it, on a full disk, is no reason to stop training.
void TrainJob::UpdateTargets() {
  if (MonotonicNow() < targets_updated_ + absl::Seconds(1)) return;
  targets_updated_ = MonotonicNow();
  targets_.Set("learner", RankName(0), metrics_address_);
  for (size_t i = 0; i < actors_.size(); ++i) {
    if (actors_[i].process == nullptr) {
      targets_.Set("actor", ActorName(i), "");
    } else {
      targets_.SetFromReadyFile("actor", ActorName(i), ActorReadyFile(i));
    }
  }
  const absl::Status written = targets_.Write();
  if (!written.ok() && !std::exchange(targets_told_, true)) display_.Note(written.message());
}

absl::Status TrainJob::StartActor(size_t index) {
  const std::string name = ActorName(index);
  RETURN_IF_ERROR(RemoveFile(ActorReadyFile(index)));
  std::vector<std::string> argv = {absl::StrCat(options_.binary_folder, "/tactus-actor"),
                                   "--config",
                                   options_.folder.config(),
                                   "--learner",
                                   learner_address_,
                                   "--instance",
                                   name,
                                   "--metrics-listen",
                                   "127.0.0.1:0",
                                   "--ready-file",
                                   ActorReadyFile(index)};
  if (index < options_.devices.actors.size()) {
    argv.insert(argv.end(), {"--device", options_.devices.actors[index].device.Text()});
  }
  ASSIGN_OR_RETURN(actors_[index].process,
                   ChildProcess::Start(argv, absl::StrCat(options_.folder.logs(), "/", name, ".log")));
  actors_[index].started = MonotonicNow();
  return absl::OkStatus();
}

void TrainJob::EndActor(Actor& actor, absl::Duration pause) {
  if (actor.process != nullptr) actor.cpu_seconds += actor.process->cpu_seconds();
  actor.process.reset();
  actor.start_at = MonotonicNow() + pause;
}

// Not-OK: it is senseless to start it, or any, again.
absl::Status TrainJob::ActorDied(size_t index, const absl::Status& death, absl::Duration lived) {
  ShowNewSteps();
  if (absl::IsInvalidArgument(death) && !trained_) return death;
  const absl::Duration pause = restarts_.Died(index, lived);
  if (restarts_.Hopeless()) {
    return absl::InternalError(
        absl::StrCat("each actor died more than ", ActorRestarts::kMaxDeaths,
                     " times without a step between; mend it and go on with tactus train --resume ",
                     options_.folder.root, "; the last: ", death.message()));
  }
  display_.Note(absl::StrCat(death.message().substr(0, death.message().find(';')), "; it starts again in ",
                             absl::FormatDuration(pause), ", see ", options_.folder.logs(), "."));
  EndActor(actors_[index], pause);
  return absl::OkStatus();
}

absl::Status TrainJob::CheckActors() {
  for (size_t i = 0; i < actors_.size(); ++i) {
    Actor& actor = actors_[i];
    if (actor.process == nullptr) {
      if (MonotonicNow() < actor.start_at) continue;
      const absl::Status started = StartActor(i);
      if (!started.ok()) RETURN_IF_ERROR(ActorDied(i, started, absl::ZeroDuration()));
      continue;
    }
    const std::optional<int> code = actor.process->Poll();
    if (!code) continue;
    if (*code == 0) {  // drained: the run is over, or somebody asked it to stop; the learner will soon tell which
      EndActor(actor, kDrainedPause);
    } else {
      RETURN_IF_ERROR(ActorDied(i, Died(*actor.process, ActorName(i), *code), MonotonicNow() - actor.started));
    }
  }
  const auto running =
      std::count_if(actors_.begin(), actors_.end(), [](const Actor& a) { return a.process != nullptr; });
  display_.SetActors(static_cast<int>(running), restarts_.total());
  return absl::OkStatus();
}

absl::Status TrainJob::CheckLearners(bool* done) {
  *done = true;
  for (size_t rank = 0; rank < learners_.size(); ++rank) {
    const std::optional<int> code = learners_[rank]->Poll();
    if (!code) *done = false;
    if (code && *code == kExitStoppedEarly) stopped_ = true;
    if (code && *code != 0 && *code != kExitStoppedEarly) return Died(*learners_[rank], RankName(rank), *code);
  }
  return absl::OkStatus();
}

void TrainJob::ShowNewSteps() {
  for (const StepRecord& record : follower_.Poll()) {
    display_.AddStep(record);
    if (const auto told = signal_.Add(record); told.has_value()) display_.Note(absl::StrCat("warning: ", *told));
    restarts_.Stepped();
    trained_ = true;
  }
  display_.Redraw();
}

absl::Status TrainJob::Watch() {
  for (bool done = false; !done && StopSignalCount() == 0;) {
    RETURN_IF_ERROR(CheckLearners(&done));
    if (!done) {
      RETURN_IF_ERROR(CheckActors());
      UpdateTargets();
      if (const std::string told = evaluations_->Poll(); !told.empty()) display_.Note(told);
    }
    ShowNewSteps();
    absl::SleepFor(kTick);
  }
  return absl::OkStatus();
}

absl::Status TrainJob::StopLearners() {
  display_.Note("Stopping: the learner finishes its step and writes a checkpoint. Ctrl-C again ends it at once.");
  for (const auto& learner : learners_) learner->Signal(SIGTERM);
  const absl::Time deadline = MonotonicNow() + kCheckpointTimeout;
  for (bool done = false; !done;) {
    RETURN_IF_ERROR(CheckLearners(&done));
    if (StopSignalCount() > 1) return absl::CancelledError("ended at once; the newest complete checkpoint stays good.");
    if (MonotonicNow() > deadline) {
      return absl::InternalError(absl::StrCat("the learner did not stop within ",
                                              absl::FormatDuration(kCheckpointTimeout), "; see ",
                                              options_.folder.logs(), "."));
    }
    ShowNewSteps();
    absl::SleepFor(kTick);
  }
  return absl::OkStatus();
}

void TrainJob::StopActors(absl::Duration grace) {
  for (Actor& actor : actors_) {
    if (actor.process != nullptr) actor.process->Signal(SIGTERM);
  }
  const absl::Time deadline = MonotonicNow() + grace;
  for (Actor& actor : actors_) {
    if (actor.process == nullptr) continue;
    while (!actor.process->Poll() && MonotonicNow() < deadline && StopSignalCount() < 2) absl::SleepFor(kTick);
    actor.process->Signal(SIGKILL);
    actor.process->Wait(kActorStopTimeout);
    EndActor(actor, absl::InfiniteDuration());
  }
}

void TrainJob::PrintSummary(bool stopped) {
  const double wall = SecondsSince(started_);
  const std::vector<StepRecord>& steps = display_.steps();
  const RunFolder& folder = options_.folder;
  std::string text =
      absl::StrFormat("%s after %d of %d steps in %s.\n", stopped ? "Stopped" : "Finished",
                      steps.empty() ? 0 : steps.back().step, options_.config->learner().steps(), DurationText(wall));
  absl::StrAppend(&text, RewardLine(steps));
  if (!held_out_.empty()) absl::StrAppend(&text, "  held-out     pass@1 ", held_out_, "\n");
  std::string shares;
  for (size_t i = 0; i < learners_.size(); ++i) {
    absl::StrAppend(&shares, absl::StrFormat("  %s %.2f", RankName(i), learners_[i]->cpu_seconds() / wall));
  }
  for (size_t i = 0; i < actors_.size(); ++i) {
    absl::StrAppend(&shares, absl::StrFormat("  %s %.2f", ActorName(i), actors_[i].cpu_seconds / wall));
  }
  absl::StrAppend(&text, "  cores busy ", shares, "\n");
  absl::StrAppend(&text, CheckpointLine(folder));
  const absl::Status report = WriteReport(folder, folder.report(), options_.enrich_report);
  absl::StrAppend(&text, "  report       ", report.ok() ? folder.report() : std::string(report.message()), "\n");
  absl::StrAppend(&text, "  metrics      ", folder.metrics(), ", tensorboard --logdir ", folder.tensorboard(), "\n");
  if (!metrics_address_.empty()) {
    absl::StrAppend(&text, "  endpoint     http://", metrics_address_, "/metrics, while the run lasted\n");
  }
  if (stopped) absl::StrAppend(&text, "  go on with   tactus train --resume ", folder.root, "\n");
  std::fprintf(stderr, "%s", text.c_str());
}

// A failure is told and does not end the job: the training is what matters.
void TrainJob::EvaluateHeldOut(const std::string& model_folder, int64_t step, const std::string& name) {
  if (!LauncherMeasures(*options_.config) || StopSignalCount() > 0) return;
  absl::StatusOr<HeldOutRecord> rate = MeasureHeldOut(options_, model_folder, step, name);
  if (rate.ok() && step > 0) {
    const absl::Status kept = KeepIfBest(options_.folder, NewestCheckpoint(options_.folder), *rate);
    if (!kept.ok()) rate = kept;
  }
  absl::StrAppend(&held_out_, held_out_.empty() ? "" : ", ",
                  rate.ok() ? absl::StrFormat("%.3f [%.3f, %.3f] %s", rate->pass1, rate->low, rate->high, name)
                            : std::string(rate.status().message()));
}

// Of a run whose actors were asked: the first number and the last.
std::string TrainJob::MeasuredByActors() const {
  const absl::StatusOr<std::vector<HeldOutRecord>> measured = ReadHeldOut(options_.folder.held_out());
  if (!measured.ok() || measured->empty()) return "";
  std::string text;
  for (size_t i : {size_t{0}, measured->size() - 1}) {
    const HeldOutRecord& rate = (*measured)[i];
    absl::StrAppendFormat(&text, "%s%.3f [%.3f, %.3f] after step %d", text.empty() ? "" : ", ", rate.pass1, rate.low,
                          rate.high, rate.step);
    if (measured->size() == 1) break;
  }
  return text;
}

absl::Status TrainJob::Run() {
  CatchStopSignals();
  display_.Note(absl::StrCat("Run folder: ", options_.folder.root));
  for (const std::string& line : options_.devices.Lines()) display_.Note(line);
  if (!options_.resume) EvaluateHeldOut(options_.config->model().path(), 0, "before");
  RETURN_IF_ERROR(StartLearners());
  RETURN_IF_ERROR(AwaitLearner());
  // By now the learner has cut the file back to its checkpoint.
  for (const StepRecord& record : follower_.Poll()) display_.AddHistory(record);
  absl::Status status;
  evaluations_ = std::make_unique<CheckpointEvaluations>(options_);
  if (!learner_address_.empty()) {
    display_.Note(absl::StrCat("Learner at ", learner_address_, ", metrics at http://", metrics_address_, "/metrics"));
    status = Watch();
  }
  stopped_ = stopped_ || StopSignalCount() > 0;
  bool done = false;
  if (CheckLearners(&done).ok() && !done) {  // stopped, or no actor is of use any more: what was trained is kept
    const absl::Status kept = StopLearners();
    if (status.ok()) status = kept;
  }
  const bool stopped = stopped_;
  ShowNewSteps();
  display_.Finish();
  // After the last step they leave by themselves; after anything else nobody takes what they could still hand in.
  StopActors(status.ok() && !stopped ? kActorStopTimeout : absl::ZeroDuration());
  if (!status.ok()) return status;
  if (!stopped && !display_.steps().empty()) {
    if (const std::string told = evaluations_->Finish(); !told.empty()) display_.Note(told);
    EvaluateHeldOut(NewestCheckpoint(options_.folder) + "/model", display_.steps().back().step, "after");
  }
  evaluations_.reset();  // what a stop has left of them
  if (!LauncherMeasures(*options_.config)) held_out_ = MeasuredByActors();
  PrintSummary(stopped);
  return stopped ? absl::CancelledError("stopped when asked to; the checkpoint is complete.") : absl::OkStatus();
}

}  // namespace tactus
