#include "learner/checkpoint/run_mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/paths.h"
#include "learner/checkpoint/checkpoint_uploader.h"
#include "learner/checkpoint/checkpointer.h"
#include "learner/checkpoint/manifest.h"
#include "tests/folder_test.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::atomic<bool> kNever = false;

// A run's folder with checkpoints of two small files each, and a mirror of it in a folder beside it.
class RunMirrorTest : public FolderTest {
 protected:
  RunMirrorTest() : run_{folder_ + "/run"}, uri_("file://" + folder_ + "/mirror") {
    EXPECT_TRUE(MakeFolders(run_.checkpoints()).ok());
    SetIncarnation(run_, 0);
    EXPECT_TRUE(WriteFileAtomic(run_.config(), "seed: 1\n").ok());
    EXPECT_TRUE(WriteFileAtomic(run_.metrics(), "{\"step\":1}\n").ok());
  }

  static void SetIncarnation(const RunFolder& run, int incarnation) {
    EXPECT_TRUE(WriteFileAtomic(run.checkpoints() + "/incarnation", absl::StrCat(incarnation, "\n")).ok());
  }

  static void Save(const RunFolder& run, uint64_t step, const std::string& state = "state") {
    SaveAt(CheckpointPath(run.checkpoints(), step), step, state);
  }
  static void SaveAt(const std::string& path, uint64_t step, const std::string& state) {
    const std::string weights = absl::StrCat("weights of ", step);
    ASSERT_TRUE(MakeFolders(path + "/model").ok());
    ASSERT_TRUE(WriteFileAtomic(path + "/state.pb", state).ok());
    ASSERT_TRUE(WriteFileAtomic(path + "/model/w", weights).ok());
    ASSERT_TRUE(WriteManifest(path, {{"state.pb", DigestOf(state)}, {"model/w", DigestOf(weights)}}).ok());
  }

  std::unique_ptr<RunMirror> Mirror() const { return *RunMirror::Open(uri_); }
  std::string InMirror(const std::string& name) const { return folder_ + "/mirror/" + name; }

  RunFolder run_;
  std::string uri_;
};

TEST_F(RunMirrorTest, AnotherMachineGoesOnFromIt) {
  const auto mirror = Mirror();
  EXPECT_EQ(*mirror->NewestStep(), std::nullopt);
  EXPECT_EQ(*mirror->Incarnation(), std::nullopt);
  SetIncarnation(run_, 3);
  ASSERT_TRUE(mirror->Claim(run_).ok());
  EXPECT_EQ(*mirror->Incarnation(), 3u);
  Save(run_, 20);
  SaveAt(run_.best() + "/step-000010", 10, "best");
  ASSERT_TRUE(mirror->Upload(run_, 20, 3, kNever).ok());
  EXPECT_EQ(*mirror->NewestStep(), 20u);

  const RunFolder other{folder_ + "/other"};
  ASSERT_TRUE(Mirror()->Fetch(other).ok());
  EXPECT_TRUE(VerifyCheckpoint(CheckpointPath(other.checkpoints(), 20)).ok());
  EXPECT_TRUE(VerifyCheckpoint(other.best() + "/step-000010").ok());
  EXPECT_EQ(*ReadFile(other.config()), "seed: 1\n");
  EXPECT_EQ(*ReadFile(other.metrics()), "{\"step\":1}\n");
  EXPECT_EQ(*ReadFile(other.checkpoints() + "/incarnation"), "3\n");
  EXPECT_THAT(*ListFolder(CheckpointPath(other.checkpoints(), 20)),
              ElementsAre("manifest.json", "manifest.json.sha256", "model", "state.pb"));
}

TEST_F(RunMirrorTest, KeepsTheNewestAndTheBest) {
  const auto mirror = Mirror();
  ASSERT_TRUE(mirror->Claim(run_).ok());
  for (const uint64_t step : {10, 20, 30}) {
    Save(run_, step);
    if (step <= 20) SaveAt(absl::StrCat(run_.best(), "/step-0000", step), step, "best");
    if (step == 20) {
      ASSERT_TRUE(RemoveFolder(run_.best() + "/step-000010").ok());
    }
    ASSERT_TRUE(mirror->Upload(run_, step, 2, kNever).ok());
  }
  EXPECT_THAT(*ListFolder(InMirror("checkpoints")), ElementsAre("best", "incarnation", "step-000020", "step-000030"));
  EXPECT_THAT(*ListFolder(InMirror("checkpoints/best")), ElementsAre("step-000020"));
  // A restore went back to step 20, so 30 is of another history.
  Save(run_, 25);
  ASSERT_TRUE(mirror->Upload(run_, 25, 2, kNever).ok());
  EXPECT_THAT(*ListFolder(InMirror("checkpoints")), ElementsAre("best", "incarnation", "step-000020", "step-000025"));
  EXPECT_THAT(*ListFolder(run_.checkpoints()), ::testing::Not(::testing::Contains(HasSubstr(".upload"))));
}

// As after a kill at each moment of an upload: its files come one by one, the manifest's hash last.
TEST_F(RunMirrorTest, WhatWasCutOffIsNone) {
  const auto mirror = Mirror();
  ASSERT_TRUE(mirror->Claim(run_).ok());
  Save(run_, 10);
  ASSERT_TRUE(mirror->Upload(run_, 10, 3, kNever).ok());
  Save(run_, 20);
  const std::string from = CheckpointPath(run_.checkpoints(), 20), to = InMirror("checkpoints/step-000020");
  ASSERT_TRUE(MakeFolders(to + "/model").ok());
  for (const char* name : {"model/w", "state.pb", "manifest.json"}) {
    EXPECT_EQ(*mirror->NewestStep(), 10u) << "before " << name;
    ASSERT_TRUE(WriteFileAtomic(absl::StrCat(to, "/", name), *ReadFile(absl::StrCat(from, "/", name))).ok());
  }
  EXPECT_EQ(*mirror->NewestStep(), 10u);
  ASSERT_TRUE(WriteFileAtomic(to + "/manifest.json.sha256", *ReadFile(from + "/manifest.json.sha256")).ok());
  EXPECT_EQ(*mirror->NewestStep(), 20u);
  ASSERT_TRUE(RemoveFile(to + "/state.pb").ok());
  EXPECT_EQ(*mirror->NewestStep(), 10u) << "a deletion that was cut off, too";
  // The next try makes it whole.
  ASSERT_TRUE(mirror->Upload(run_, 20, 3, kNever).ok());
  EXPECT_EQ(*mirror->NewestStep(), 20u);
}

TEST_F(RunMirrorTest, ADamagedOneIsPassedOver) {
  const auto mirror = Mirror();
  ASSERT_TRUE(mirror->Claim(run_).ok());
  for (const uint64_t step : {10, 20}) {
    Save(run_, step);
    ASSERT_TRUE(mirror->Upload(run_, step, 3, kNever).ok());
  }
  ASSERT_TRUE(WriteFileAtomic(InMirror("checkpoints/step-000020/state.pb"), "STATE").ok());  // of the same size
  const RunFolder other{folder_ + "/other"};
  ASSERT_TRUE(Mirror()->Fetch(other).ok());
  EXPECT_THAT(ListCheckpoints(other.checkpoints()), ElementsAre(HasSubstr("step-000010")));
  ASSERT_TRUE(WriteFileAtomic(InMirror("checkpoints/step-000010/state.pb"), "STATE").ok());
  EXPECT_EQ(Mirror()->Fetch({folder_ + "/third"}).code(), absl::StatusCode::kDataLoss);
}

TEST_F(RunMirrorTest, AStepOfAnotherHistoryTakesItsPlace) {
  const auto mirror = Mirror();
  ASSERT_TRUE(mirror->Claim(run_).ok());
  Save(run_, 10, "first");
  ASSERT_TRUE(mirror->Upload(run_, 10, 3, kNever).ok());
  Save(run_, 10, "again");
  ASSERT_TRUE(mirror->Upload(run_, 10, 3, kNever).ok());
  EXPECT_EQ(*ReadFile(InMirror("checkpoints/step-000010/state.pb")), "again");
  EXPECT_EQ(*mirror->NewestStep(), 10u);
}

TEST_F(RunMirrorTest, RefreshTakesOnlyWhatIsNewer) {
  const auto mirror = Mirror();
  const RunFolder other{folder_ + "/other"};
  ASSERT_TRUE(mirror->Refresh(other).ok());
  EXPECT_THAT(ListCheckpoints(other.checkpoints()), IsEmpty());
  ASSERT_TRUE(mirror->Claim(run_).ok());
  ASSERT_TRUE(mirror->Refresh(other).ok());
  EXPECT_EQ(*ReadFile(other.checkpoints() + "/incarnation"), "0\n") << "that one began to write is known";
  Save(run_, 20);
  ASSERT_TRUE(mirror->Upload(run_, 20, 3, kNever).ok());
  Save(other, 30);
  ASSERT_TRUE(mirror->Refresh(other).ok());
  EXPECT_THAT(ListCheckpoints(other.checkpoints()), ElementsAre(HasSubstr("step-000030")));
  const RunFolder older{folder_ + "/older"};
  Save(older, 10);
  SetIncarnation(older, 7);
  ASSERT_TRUE(mirror->Refresh(older).ok());
  EXPECT_THAT(ListCheckpoints(older.checkpoints()), ElementsAre(HasSubstr("step-000020"), HasSubstr("step-000010")));
  EXPECT_EQ(*ReadFile(older.checkpoints() + "/incarnation"), "7\n") << "the larger of the two";
}

class UploaderTest : public RunMirrorTest {
 protected:
  absl::StatusOr<std::unique_ptr<CheckpointUploader>> Start(bool resumed) {
    return CheckpointUploader::Start({.folder = run_, .uri = uri_, .keep = 2, .resumed = resumed},
                                     [this](const absl::Status& status) { ++(status.ok() ? uploaded_ : failed_); });
  }
  std::atomic<int> uploaded_ = 0, failed_ = 0;
};

TEST_F(UploaderTest, UploadsWhatItIsOffered) {
  auto uploader = *Start(/*resumed=*/false);
  ASSERT_TRUE(uploader->Await(kNever).ok()) << "nothing yet";
  Save(run_, 10);
  uploader->Offer(10);
  ASSERT_TRUE(uploader->Await(kNever).ok());
  EXPECT_EQ(*Mirror()->NewestStep(), 10u);
  EXPECT_EQ(uploaded_, 1);
}

TEST_F(UploaderTest, OneRunAMirror) {
  ASSERT_TRUE(Start(/*resumed=*/false).ok());
  ASSERT_TRUE(Start(/*resumed=*/false).ok()) << "the first ended before it had a checkpoint";
  Save(run_, 10);
  ASSERT_TRUE(Mirror()->Upload(run_, 10, 1, kNever).ok());
  const absl::Status taken = Start(/*resumed=*/false).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(taken.message()), HasSubstr("already holds a run: expected a place of its own, or --resume"));
  // The same run, started again, has a larger incarnation.
  EXPECT_EQ(Start(/*resumed=*/true).status().code(), absl::StatusCode::kAlreadyExists);
  SetIncarnation(run_, 1);
  EXPECT_TRUE(Start(/*resumed=*/true).ok());
}

TEST_F(UploaderTest, ALearnerThatCameLaterKeepsIt) {
  auto first = *Start(/*resumed=*/false);
  const RunFolder later{folder_ + "/later"};
  ASSERT_TRUE(MakeFolders(later.checkpoints()).ok());
  SetIncarnation(later, 1);
  ASSERT_TRUE(Mirror()->Claim(later).ok());
  Save(run_, 10);
  first->Offer(10);
  const absl::Status status = first->Await(kNever);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another learner has begun to write there"));
  EXPECT_EQ(*Mirror()->NewestStep(), std::nullopt);
}

TEST_F(UploaderTest, TriesAgainWhenTheStoreIsBack) {
  auto uploader = *Start(/*resumed=*/false);
  ASSERT_TRUE(RemoveFolder(InMirror("checkpoints")).ok());
  Write("mirror/checkpoints", "a file where a folder should be");
  Save(run_, 10);
  uploader->Offer(10);
  while (failed_ == 0) absl::SleepFor(absl::Milliseconds(10));
  ASSERT_TRUE(RemoveFile(InMirror("checkpoints")).ok());
  ASSERT_TRUE(uploader->Await(kNever).ok());
  EXPECT_EQ(*Mirror()->NewestStep(), 10u);
}

}  // namespace
}  // namespace tactus
