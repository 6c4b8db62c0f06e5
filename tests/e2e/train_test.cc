// Whole training jobs as a user runs them: `tactus train` with its learner ranks and actors as processes.
//
// The promises under test: in synchronous mode the trained weights do not depend on how many actors there were, on one
// being killed, or on an interruption and resume; and every recomputed log-prob has the bits of the sampled one.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "common/base/folder_lock.h"
#include "common/base/sha256.h"
#include "common/metrics/held_out.h"
#include "common/metrics/run_folder.h"
#include "tests/e2e/job.h"
#include "tests/tree.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr int kSteps = Job::kDefaultSteps;

// The uninterrupted run with one actor, that every other is compared with.
const Job& Reference() {
  static Job* const job = [] {
    Job* made = new Job("reference", {"--actors", "1"});
    EXPECT_EQ(made->Wait(), 0);
    return made;
  }();
  return *job;
}

// Interrupts a job once it has trained a step.
void StopEarly(Job& job) {
  bool stopped = false;
  EXPECT_EQ(job.Wait([&] {
    if (stopped || job.Steps().empty()) return;
    job.Signal(SIGINT);
    stopped = true;
  }),
            130);
  EXPECT_LT(job.Steps().size(), static_cast<size_t>(kSteps)) << "the run was over before it could be stopped";
}

TEST(TrainTest, LearnsSomethingAndRecordsIt) {
  const std::vector<StepRecord> steps = Reference().Steps();
  ASSERT_EQ(steps.size(), static_cast<size_t>(kSteps));
  double gradient = 0;
  for (const StepRecord& step : steps) {
    EXPECT_EQ(step.mismatch_max, 0) << "step " << step.step << ": a recomputed log-prob differs from the sampled one";
    EXPECT_EQ(step.staleness_max, 0);
    gradient += step.grad_norm;
  }
  EXPECT_GT(gradient, 0) << "nothing was learned, so the comparisons below would be empty";
  std::ifstream samples(Reference().folder().samples());
  std::string line;
  EXPECT_TRUE(std::getline(samples, line) && line.find("gamma") != std::string::npos);
}

// The run configures COUPLED. What the actors measured while they sampled, `tactus rhythm` measures again from the
// stored tokens by the checkpoint of the version that sampled them.
void ExpectCreditRecomputes(const RunFolder& folder) {
  std::ifstream samples(folder.samples());
  int compared = 0, amplified = 0;
  for (std::string line; std::getline(samples, line);) {
    const nlohmann::json sample = nlohmann::json::parse(line);
    const int step = std::stoi(sample.at("version").get<std::string>().substr(2));  // "0.step"
    const std::string model = absl::StrFormat("%s/step-%06d/model", folder.checkpoints(), step);
    if (sample.at("versions").size() != 1 || !fs::exists(model)) continue;
    const std::string in = folder.root + "/responses.jsonl", out = folder.root + "/rhythm.jsonl";
    std::ofstream(in) << nlohmann::json{{"id", 1},
                                        {"prompt_ids", sample.at("prompt_ids")},
                                        {"response_ids", sample.at("token_ids")}}
                      << "\n";
    const std::string command = absl::StrCat(BuildPath("bin/tactus"), " rhythm --model ", model, " --config ",
                                             folder.config(), " --input ", in, " --output ", out);
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    const nlohmann::json rhythm = nlohmann::json::parse(*ReadFile(out));
    EXPECT_EQ(rhythm.at("gamma").at("COUPLED"), sample.at("gamma")) << line.substr(0, 60);
    EXPECT_EQ(rhythm.at("logprobs"), sample.at("logprobs"));
    for (const double gamma : sample.at("gamma")) amplified += gamma > 1 ? 1 : 0;
    ++compared;
  }
  // The first step's version 0.0 is the starting policy, which no checkpoint holds.
  EXPECT_GE(compared, 4);
  EXPECT_GT(amplified, 50);
}

TEST(TrainTest, CreditCanBeRecomputedFromTokensAndWeights) { ExpectCreditRecomputes(Reference().folder()); }

TEST(TrainTest, TheNumberOfActorsChangesNoBit) {
  for (const std::string actors : {"2", "3"}) {
    Job job("actors" + actors, {"--actors", actors});
    ASSERT_EQ(job.Wait(), 0);
    EXPECT_EQ(job.WeightsHash(), Reference().WeightsHash()) << actors << " actors";
  }
}

TEST(TrainTest, AKilledActorChangesNoBit) {
  Job job("killed", {"--actors", "2"});
  bool killed = false;
  ASSERT_EQ(job.Wait([&] {
    if (killed || job.Steps().empty()) return;
    const std::vector<int> actors = job.Actors();
    if (!actors.empty()) killed = ::kill(actors[0], SIGKILL) == 0;
  }),
            0);
  EXPECT_TRUE(killed) << "the run was over before an actor could be killed";
  EXPECT_EQ(job.WeightsHash(), Reference().WeightsHash());
}

// Micro-batches of some answers, so that there is something to train on while the rest is sampled.
double StreamedSeconds(const std::string& name, std::vector<std::string> arguments, std::string& hash) {
  arguments.insert(arguments.end(), {"--set", "learner.micro_batch_tokens=256", "--set", "actor.max_sequences=8"});
  Job job(name, arguments);
  EXPECT_EQ(job.Wait(), 0) << name;
  hash = job.WeightsHash();
  double seconds = 0;
  for (const StepRecord& step : job.Steps()) seconds += step.streamed_s;
  return seconds;
}

TEST(TrainTest, TrainingOnGroupsAsTheyComeChangesNoBit) {
  for (const std::string learners : {"1", "2"}) {
    std::string whole, streamed;
    EXPECT_EQ(StreamedSeconds("whole" + learners, {"--learners", learners, "--set", "learner.stream=false"}, whole), 0);
    EXPECT_GT(StreamedSeconds("streamed" + learners, {"--learners", learners, "--actors", "2"}, streamed), 0);
    EXPECT_EQ(streamed, whole) << learners << " ranks";
  }
}

TEST(TrainTest, StopAndResumeChangeNoBit) {
  Job job("resumed", {"--actors", "2"});
  StopEarly(job);
  Job again("resumed", {"--actors", "1"}, /*fresh=*/false);
  ASSERT_EQ(again.Wait(), 0);
  EXPECT_EQ(again.Steps().size(), static_cast<size_t>(kSteps));
  EXPECT_EQ(again.WeightsHash(), Reference().WeightsHash());
}

TEST(TrainTest, AKilledJobResumesFromItsCheckpoint) {
  {
    Job job("crashed", {"--actors", "2"});
    bool killed = false;
    job.Wait([&] {
      if (killed || job.Steps().size() < 2) return;
      job.Signal(SIGKILL);  // takes its children with it
      killed = true;
    });
    ASSERT_TRUE(killed);
    std::this_thread::sleep_for(milliseconds(500));
  }
  Job again("crashed", {"--actors", "2"}, /*fresh=*/false);
  ASSERT_EQ(again.Wait(), 0);
  EXPECT_EQ(again.WeightsHash(), Reference().WeightsHash());
}

// Every file of a folder with its content's hash and its time.
std::map<std::string, std::string> Listing(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files[entry.path()] =
        absl::StrCat(Sha256Hex(*ReadFile(entry.path())), " ", entry.last_write_time().time_since_epoch().count());
  }
  return files;
}

// A live run reads its own configuration again whenever an actor is started.
TEST(TrainTest, ARefusedJobHasChangedNothing) {
  Job owned("owned", {"--actors", "1"});
  ASSERT_EQ(owned.Wait(), 0);
  const RunFolder& folder = owned.folder();
  ASSERT_TRUE(WriteFileAtomic(folder.logs() + "/learner-0.ready", "{}").ok());
  const std::map<std::string, std::string> before = Listing(folder.root);
  for (const std::string& locked : {folder.root, folder.checkpoints()}) {
    const FolderLock lock = FolderLock::Take(locked, "us").value();
    EXPECT_EQ(Job("owned", {"--set", "learner.steps=9"}, /*fresh=*/false).Wait(), 1) << locked;
    EXPECT_EQ(Listing(folder.root), before) << locked;
  }
  const std::string empty = testing::TempDir() + "/tactus_e2e_two_new";
  fs::remove_all(empty);
  fs::create_directories(empty);
  const FolderLock lock = FolderLock::Take(empty, "us").value();
  const int status = std::system(absl::StrCat("cd ", SourcePath(), " && ", BuildPath("bin/tactus"),
                                              " train --config configs/quickstart.textproto --out ", empty)
                                     .c_str());
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_TRUE(fs::is_empty(empty));
}

// Kills the learner, and the job with it, in the moment in which a checkpoint gets its name. False: the job ended
// first.
bool KillAtNextCheckpoint(Job& job) {
  const std::string folder = job.folder().checkpoints();
  while (!fs::exists(folder) || job.Processes("tactus-learner").empty()) std::this_thread::sleep_for(milliseconds(5));
  const pid_t learner = job.Processes("tactus-learner").front();
  const int events = inotify_init1(IN_CLOEXEC);
  inotify_add_watch(events, folder.c_str(), IN_MOVED_TO);
  bool killed = false;
  while (!killed) {
    pollfd wait{events, POLLIN, 0};
    alignas(inotify_event) char buffer[4096];
    if (poll(&wait, 1, 60000) != 1) break;  // a step takes a second
    const ssize_t got = read(events, buffer, sizeof buffer);
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      if (event->len > 0 && absl::StartsWith(event->name, "step-")) killed = kill(learner, SIGKILL) == 0;
      at += static_cast<ssize_t>(sizeof *event) + event->len;
    }
  }
  close(events);
  job.Signal(SIGKILL);
  job.Wait();
  for (int i = 0; i < 500 && !job.Processes("tactus-").empty(); ++i) std::this_thread::sleep_for(milliseconds(20));
  return killed;
}

// A checkpoint never knows of a step whose lines are not written: a resumed run would not write them again.
TEST(TrainTest, NoLineIsLostOrWrittenTwiceByAKillRightAfterACheckpoint) {
  RunFolder folder;
  for (int round = 0; round < kSteps - 1; ++round) {
    Job job("lines", {"--actors", "2"}, /*fresh=*/round == 0);
    folder = job.folder();
    ASSERT_TRUE(KillAtNextCheckpoint(job)) << "round " << round;
  }
  Job last("lines", {"--actors", "2"}, /*fresh=*/false);
  ASSERT_EQ(last.Wait(), 0);
  const std::vector<StepRecord> steps = last.Steps();
  ASSERT_EQ(steps.size(), static_cast<size_t>(kSteps));
  for (size_t i = 0; i < steps.size(); ++i) EXPECT_EQ(steps[i].step, static_cast<int64_t>(i) + 1);
  std::map<int64_t, int> samples;
  const std::vector<SampleRecord> written = ReadSamples(folder.samples(), 1000, 0).value();
  for (const SampleRecord& sample : written) ++samples[sample.step];
  EXPECT_EQ(samples, (std::map<int64_t, int>{{1, 4}, {2, 4}, {3, 4}, {4, 4}}));
  EXPECT_EQ(last.WeightsHash(), Reference().WeightsHash());
}

// Classes are made after steps 1 and 3, so a resume after step 1 or 2 needs those of its checkpoint.
TEST(TrainTest, WithCalibratedHeadsNeitherActorsNorAResumeChangeABit) {
  const std::vector<std::string> calibrated = {"--set", "credit.head_mode=CALIBRATED", "--set",
                                               "credit.calibrate_every_versions=3", "--actors"};
  const auto with_actors = [&](const char* actors) {
    std::vector<std::string> extra = calibrated;
    extra.push_back(actors);
    return extra;
  };
  Job one("calibrated", with_actors("1"));
  ASSERT_EQ(one.Wait(), 0);
  EXPECT_NE(one.WeightsHash(), Reference().WeightsHash()) << "the classes were as if found in each response";
  ExpectCreditRecomputes(one.folder());
  Job three("calibrated3", with_actors("3"));
  StopEarly(three);
  Job resumed("calibrated3", {"--actors", "2"}, /*fresh=*/false);
  ASSERT_EQ(resumed.Wait(), 0);
  EXPECT_EQ(resumed.WeightsHash(), one.WeightsHash());
}

// With keep: 1 the newest checkpoint stays, and the best of those that were measured.
TEST(TrainTest, TheBestCheckpointIsKeptBesideTheNewest) {
  Job job("best", {"--actors", "1", "--set", "checkpoint.keep=1", "--set", "eval.every_steps=1"});
  ASSERT_EQ(job.Wait(), 0);
  EXPECT_EQ(job.WeightsHash(), Reference().WeightsHash()) << "evaluations beside it change no bit";
  const std::vector<HeldOutRecord> measured = ReadHeldOut(job.folder().held_out()).value();
  ASSERT_GE(measured.size(), 2u);
  EXPECT_EQ(measured.back().step, kSteps);
  HeldOutRecord best = measured[1];
  for (size_t i = 2; i < measured.size(); ++i) best = measured[i].pass1 > best.pass1 ? measured[i] : best;
  const auto kept = FindBestCheckpoint(job.folder()).value();
  ASSERT_TRUE(kept.has_value());
  EXPECT_EQ(kept->held_out.step, best.step);
  EXPECT_TRUE(fs::exists(kept->path + "/model/model.safetensors"));
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(job.folder().checkpoints())) left.push_back(entry.path().filename());
  std::sort(left.begin(), left.end());
  EXPECT_EQ(left, (std::vector<std::string>{"best", "incarnation", CheckpointName(kSteps)}));
}

TEST(TrainTest, TwoLearnerRanksTrainTheSameStep) {
  Job job("ranks", {"--learners", "2", "--actors", "1"});
  ASSERT_EQ(job.Wait(), 0);
  const std::vector<StepRecord> two = job.Steps(), one = Reference().Steps();
  ASSERT_EQ(two.size(), one.size());
  // The first step's batch is the same; later ones may part where a last bit turns a sampled token.
  EXPECT_NEAR(two[0].loss, one[0].loss, 1e-5 * std::abs(one[0].loss) + 1e-9);
  EXPECT_NEAR(two[0].grad_norm, one[0].grad_norm, 1e-5 * one[0].grad_norm);
}

TEST(TrainTest, AsynchronousRunFinishesWithinItsStaleness) {
  Job job("async", {"--actors", "2", "--set", "rollout.max_staleness_steps=1"});
  ASSERT_EQ(job.Wait(), 0);
  const std::vector<StepRecord> steps = job.Steps();
  ASSERT_EQ(steps.size(), static_cast<size_t>(kSteps));
  for (const StepRecord& step : steps) EXPECT_LE(step.staleness_max, 1);
}

}  // namespace
}  // namespace tactus
