#include "learner/checkpoint/checkpointer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/sha256.h"
#include "common/weights/weight_publisher.h"
#include "tests/learner/checkpoint/sample_facts.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"({"model_type": "qwen3", "vocab_size": 33, "hidden_size": 24, "intermediate_size": 40,
  "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16})";

class CheckpointerTest : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path root = fs::path(testing::TempDir()) / "tactus_checkpointer_test" /
                          testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root);
    fs::create_directories(root / "model");
    folder_ = (root / "checkpoints").string();
    ASSERT_TRUE(WriteFileAtomic((root / "model/config.json").string(), kConfig).ok());
    ASSERT_TRUE(WriteFileAtomic((root / "model/tokenizer.json").string(), "{}").ok());
    auto model = OpenModelFolder((root / "model").string(), WeightsExpected::kOptional);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  absl::StatusOr<std::unique_ptr<Checkpointer>> TryOpen(int keep = 3, StorageDType dtype = StorageDType::kFloat32) {
    absl::StatusOr<FolderLock> lock = LockCheckpoints(folder_);
    if (!lock.ok()) return lock.status();
    return Checkpointer::Open(*std::move(lock), {folder_, keep, model_, dtype});
  }
  std::unique_ptr<Checkpointer> Open(int keep = 3) {
    auto checkpointer = TryOpen(keep);
    EXPECT_TRUE(checkpointer.ok()) << checkpointer.status();
    return checkpointer.ok() ? *std::move(checkpointer) : nullptr;
  }

  // Buffers whose every number follows from the step.
  std::vector<float> Values(uint64_t step, float scale) const {
    std::vector<float> flat(static_cast<size_t>(model_.layout.total_numel), 0.0f);
    for (const ParameterSpec& spec : model_.layout.specs) {
      for (int64_t i = 0; i < spec.numel; ++i) {
        flat[static_cast<size_t>(spec.offset + i)] =
            scale * (static_cast<float>(step) + 0.001f * static_cast<float>(i));
      }
    }
    return flat;
  }

  std::vector<FlatRange> All() const { return {{0, model_.layout.total_numel}}; }

  // As `world` ranks do, each with every world-th of many ranges.
  absl::Status Save(Checkpointer& checkpointer, const TrainFacts& facts, const std::vector<float>& master,
                    const std::vector<float>& first, const std::vector<float>& second, int world = 1,
                    StorageDType dtype = StorageDType::kFloat32) const {
    const uint64_t step = facts.version.step;
    absl::Status status = checkpointer.Begin(step);
    for (int rank = 0; rank < world && status.ok(); ++rank) {
      const std::vector<FlatRange> share = world == 1 ? All() : ShareOf(rank, world);
      const std::vector<float> part[] = {Of(share, master), Of(share, first), Of(share, second)};
      const std::string aside = UnfinishedCheckpoint(folder_, step);
      const auto written = WriteOptimizerFile(aside, rank, world, model_.layout, {share, part[0], part[1], part[2]});
      status = written.status();
      status.Update(NoteOptimizerFile(aside, rank, world, written));
    }
    const std::atomic<bool> never = false;
    if (status.ok()) return checkpointer.Finish(facts, EncodeWeights(model_.layout, master, dtype), world, never);
    checkpointer.Abandon(step);
    return status;
  }
  absl::Status Save(Checkpointer& checkpointer, uint64_t step, int world = 1,
                    StorageDType dtype = StorageDType::kFloat32) const {
    return Save(checkpointer, SampleFacts(step), Values(step, 1), Values(step, -2), Values(step, 0.5f), world, dtype);
  }

  // 48 floats for each rank in turn, whatever parameters they cut.
  std::vector<FlatRange> ShareOf(int rank, int world) const {
    std::vector<FlatRange> share;
    for (int64_t begin = 48 * rank; begin < model_.layout.total_numel; begin += 48 * world) {
      share.push_back({begin, std::min(begin + 48, model_.layout.total_numel)});
    }
    return share;
  }
  static std::vector<float> Of(std::span<const FlatRange> ranges, const std::vector<float>& flat) {
    std::vector<float> part;
    for (const FlatRange& range : ranges) part.insert(part.end(), flat.begin() + range.begin, flat.begin() + range.end);
    return part;
  }

  absl::StatusOr<LoadedCheckpoint> Load() const { return Load(All()); }
  absl::StatusOr<LoadedCheckpoint> Load(std::span<const FlatRange> ranges) const {
    const absl::StatusOr<std::string> path = NewestGoodCheckpoint(folder_);
    if (!path.ok()) return path.status();
    return LoadCheckpoint(*path, model_.layout, ranges, SampleLimits());
  }

  // Loads the newest, checks all its content, and returns its step; 0 and a failure when it cannot.
  uint64_t LoadedStep() const {
    const auto loaded = Load();
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    if (!loaded.ok()) return 0;
    const uint64_t step = loaded->facts.version.step;
    EXPECT_EQ(EncodeTrainFacts(loaded->facts), EncodeTrainFacts(SampleFacts(step)));
    EXPECT_EQ(loaded->master, Values(step, 1));
    EXPECT_EQ(loaded->first_moment, Values(step, -2));
    EXPECT_EQ(loaded->second_moment, Values(step, 0.5f));
    return step;
  }

  std::string Step(const std::string& number) const { return folder_ + "/step-" + number; }

  std::string folder_;
  ModelFolder model_;
};

TEST_F(CheckpointerTest, SavesAndLoadsEverything) {
  const auto checkpointer = Open();
  EXPECT_EQ(Load().status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(Save(*checkpointer, 7).ok());
  EXPECT_EQ(LoadedStep(), 7u);
  EXPECT_EQ(Load()->path, Step("000007"));
  EXPECT_TRUE(VerifyCheckpoint(Step("000007")).ok());
  const auto folder = OpenModelFolder(Step("000007") + "/model");
  ASSERT_TRUE(folder.ok()) << folder.status();
  std::vector<float> flat(static_cast<size_t>(folder->layout.total_numel));
  ASSERT_TRUE(LoadParameters(*folder, flat).ok());
  EXPECT_EQ(flat, Values(7, 1));
  EXPECT_EQ(*ReadFile(Step("000007") + "/model/tokenizer.json"), "{}");
}

TEST_F(CheckpointerTest, KeepsTheNewest) {
  const auto checkpointer = Open(/*keep=*/2);
  for (const uint64_t step : {9, 10, 11, 1'000'000}) ASSERT_TRUE(Save(*checkpointer, step).ok());
  EXPECT_THAT(ListCheckpoints(folder_), ElementsAre(Step("1000000"), Step("000011")));
  EXPECT_EQ(LoadedStep(), 1'000'000u);
  int entries = 0;
  for (const auto& entry : fs::directory_iterator(folder_)) entries += entry.path().filename() != "";
  EXPECT_EQ(entries, 3);  // and the incarnation: nothing is left aside
}

TEST_F(CheckpointerTest, KnowsWhichLogSegmentsAreStillNeeded) {
  const auto checkpointer = Open(/*keep=*/2);
  EXPECT_EQ(checkpointer->OldestLogSegment(), 0u);
  const std::vector<float> values = Values(1, 1);
  for (const uint64_t step : {1, 2, 3}) {
    TrainFacts facts = SampleFacts(step);
    facts.ledger.log_segment = 10 * step;
    ASSERT_TRUE(Save(*checkpointer, facts, values, values, values).ok());
  }
  EXPECT_EQ(checkpointer->OldestLogSegment(), 20u);
  fs::resize_file(Step("000003") + "/state.pb", 3);
  EXPECT_EQ(checkpointer->OldestLogSegment(), 0u);
}

TEST_F(CheckpointerTest, EveryStartIsANewIncarnation) {
  EXPECT_EQ(Open()->incarnation(), 0u);
  EXPECT_EQ(Open()->incarnation(), 1u);
  {
    const auto checkpointer = Open();
    EXPECT_EQ(checkpointer->incarnation(), 2u);
    ASSERT_TRUE(Save(*checkpointer, 1).ok());
  }
  fs::remove(folder_ + "/incarnation");  // then no number is known to be new
  EXPECT_THAT(std::string(TryOpen().status().message()), HasSubstr("incarnation is missing beside checkpoints"));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/incarnation", "x").ok());
  EXPECT_FALSE(TryOpen().ok());
}

TEST_F(CheckpointerTest, OneWriterAtATime) {
  auto first = Open();
  const auto second = TryOpen();
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << "it may pass";
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use by another learner"));
  first.reset();
  EXPECT_NE(Open(), nullptr);
}

TEST_F(CheckpointerTest, OneFlippedByteInAnyFileFallsBack) {
  const auto checkpointer = Open();
  ASSERT_TRUE(Save(*checkpointer, 1).ok());
  ASSERT_TRUE(Save(*checkpointer, 2).ok());
  std::mt19937_64 random(3);
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(Step("000002"))) {
    if (!entry.is_regular_file()) continue;
    ++files;
    const std::string path = entry.path().string();
    const std::string good = *ReadFile(path);
    for (const size_t at : {size_t{0}, good.size() / 2, good.size() - 1, static_cast<size_t>(random() % good.size())}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
      ASSERT_TRUE(WriteFileAtomic(path, bad).ok());
      EXPECT_FALSE(VerifyCheckpoint(Step("000002")).ok()) << path << " at " << at;
      EXPECT_EQ(LoadedStep(), 1u) << path << " at " << at;
    }
    ASSERT_TRUE(WriteFileAtomic(path, good.substr(0, good.size() - 1)).ok());
    EXPECT_EQ(LoadedStep(), 1u) << path << " cut";
    fs::remove(path);
    EXPECT_EQ(LoadedStep(), 1u) << path << " removed";
    ASSERT_TRUE(WriteFileAtomic(path, good).ok());
    EXPECT_EQ(LoadedStep(), 2u);
  }
  EXPECT_EQ(files, 7);  // config, tokenizer, model, optimizer, state, manifest and its hash
}

TEST_F(CheckpointerTest, OnlyBadOnesAreNotMistakenForAFreshStart) {
  const auto checkpointer = Open();
  ASSERT_TRUE(Save(*checkpointer, 1).ok());
  fs::resize_file(Step("000001") + "/state.pb", 3);
  const absl::Status status = Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("state.pb has 3 bytes"));
}

TEST_F(CheckpointerTest, AForeignManifestCannotReachOutside) {
  fs::create_directories(Step("000001"));
  const auto error = [&](const std::string& manifest) {
    EXPECT_TRUE(WriteFileAtomic(Step("000001") + "/manifest.json", manifest).ok());
    EXPECT_TRUE(
        WriteFileAtomic(Step("000001") + "/manifest.json.sha256", Sha256Hex(manifest) + "  manifest.json\n").ok());
    return std::string(VerifyCheckpoint(Step("000001")).message());
  };
  for (const char* name : {"../../secret", "/etc/passwd", "a/../../b", ""}) {
    EXPECT_THAT(error("{\"format\": 1, \"files\": {\"" + std::string(name) + R"(": {"bytes": 1, "sha256": "x"}}})"),
                HasSubstr("file in this folder"));
  }
  EXPECT_THAT(error(R"({"format": 1, "files": {"a": {"bytes": -1, "sha256": "x"}}})"),
              HasSubstr("manifest.json: files.a.bytes: expected"));
  EXPECT_THAT(error(R"({"format": 2, "files": {"a": {"bytes": 1, "sha256": "x"}}})"), HasSubstr("expected format 1"));
  EXPECT_THAT(error(R"({"format": "1", "files": {}})"), HasSubstr("expected format 1"));
  EXPECT_THAT(error("[]"), HasSubstr("expected format 1"));
  EXPECT_THAT(error("{"), HasSubstr("not valid JSON"));
}

TEST_F(CheckpointerTest, AnotherModelIsRefused) {
  const auto checkpointer = Open();
  ASSERT_TRUE(Save(*checkpointer, 1).ok());
  ModelConfig larger = model_.config;
  larger.hidden_size = 32;
  const absl::Status status =
      LoadCheckpoint(Step("000001"), MakeParameterLayout(larger), All(), SampleLimits()).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("master.model.embed_tokens.weight is missing, not F32 or of"));
}

TEST_F(CheckpointerTest, NeverSavesPoison) {
  const auto checkpointer = Open();
  ASSERT_TRUE(Save(*checkpointer, 1).ok());
  std::vector<float> good = Values(2, 1), bad = good;
  bad[20] = NAN;
  EXPECT_THAT(std::string(Save(*checkpointer, SampleFacts(2), good, bad, good).message()),
              HasSubstr("model.embed_tokens.weight holds NaN at element 20"));
  EXPECT_THAT(std::string(Save(*checkpointer, SampleFacts(2), good, bad, good, 2).message()),
              HasSubstr("model.embed_tokens.weight holds NaN at element 20"));
  ASSERT_TRUE(checkpointer->Begin(2).ok());
  EXPECT_EQ(WriteOptimizerFile(UnfinishedCheckpoint(folder_, 2), 0, 1, model_.layout,
                               {All(), good, good, std::span(good).first(5)})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  checkpointer->Abandon(2);
  EXPECT_EQ(LoadedStep(), 1u);
}

// After going back behind an unusable one, that one neither counts as kept nor comes back.
TEST_F(CheckpointerTest, SavingAfterAFallbackReplacesWhatWasBad) {
  {
    const auto checkpointer = Open(/*keep=*/2);
    ASSERT_TRUE(Save(*checkpointer, 5).ok());
    ASSERT_TRUE(Save(*checkpointer, 10).ok());
  }
  fs::resize_file(Step("000010") + "/optimizer.safetensors", 100);
  const auto checkpointer = Open(/*keep=*/1);
  EXPECT_EQ(LoadedStep(), 5u);
  ASSERT_TRUE(Save(*checkpointer, 8).ok());
  EXPECT_THAT(ListCheckpoints(folder_), ElementsAre(Step("000008")));
  ASSERT_TRUE(Save(*checkpointer, 10).ok());
  EXPECT_EQ(LoadedStep(), 10u);
  fs::resize_file(Step("000010") + "/optimizer.safetensors", 100);
  ASSERT_TRUE(Save(*checkpointer, 10).ok());  // the same number again
  EXPECT_EQ(LoadedStep(), 10u);
}

TEST_F(CheckpointerTest, WhatAnyNumberOfRanksWroteIsReadByAnyNumber) {
  const auto checkpointer = Open();
  uint64_t step = 0;
  for (const int wrote : {1, 2, 3, 5}) {
    ASSERT_TRUE(Save(*checkpointer, ++step, wrote).ok());
    EXPECT_EQ(fs::exists(Step(absl::StrCat("00000", step)) + "/optimizer.safetensors"), wrote == 1);
    EXPECT_EQ(LoadedStep(), step);
    for (const int reads : {2, 3}) {
      for (int rank = 0; rank < reads; ++rank) {
        const std::vector<FlatRange> share = ShareOf(rank, reads);
        const auto loaded = Load(share);
        ASSERT_TRUE(loaded.ok()) << loaded.status();
        EXPECT_EQ(loaded->master, Of(share, Values(step, 1)));
        EXPECT_EQ(loaded->first_moment, Of(share, Values(step, -2)));
        EXPECT_EQ(loaded->second_moment, Of(share, Values(step, 0.5f)));
      }
    }
  }
  EXPECT_TRUE(fs::exists(Step("000004") + "/optimizer-00005-of-00005.safetensors"));
}

// Written, hashed and renamed only when all ranks' files are there, however late.
TEST_F(CheckpointerTest, IsCompleteOnceEveryRankHasWritten) {
  const auto checkpointer = Open();
  const std::vector<float> values = Values(4, 1);
  const std::vector<char> weights = EncodeWeights(model_.layout, values, StorageDType::kFloat32);
  const std::string aside = UnfinishedCheckpoint(folder_, 4);
  const auto write = [&](int rank) {
    const std::vector<FlatRange> share = ShareOf(rank, 2);
    const std::vector<float> part = Of(share, values);
    return WriteOptimizerFile(aside, rank, 2, model_.layout, {share, part, part, part});
  };
  ASSERT_TRUE(checkpointer->Begin(4).ok());
  ASSERT_TRUE(NoteOptimizerFile(aside, 0, 2, write(0)).ok());
  std::atomic<bool> give_up = false;
  absl::Status finished;
  std::thread finisher([&] { finished = checkpointer->Finish(SampleFacts(4), weights, 2, give_up); });
  absl::SleepFor(absl::Milliseconds(200));
  EXPECT_THAT(ListCheckpoints(folder_), ElementsAre());
  ASSERT_TRUE(NoteOptimizerFile(aside, 1, 2, write(1)).ok());
  finisher.join();
  ASSERT_TRUE(finished.ok()) << finished;
  EXPECT_TRUE(VerifyCheckpoint(Step("000004")).ok());
  EXPECT_EQ(Load()->first_moment, values);
  for (const auto& entry : fs::directory_iterator(Step("000004"))) EXPECT_NE(entry.path().extension(), ".note");
}

TEST_F(CheckpointerTest, ARankThatFailsOrIsGivenUpLeavesTheEarlierOnes) {
  const auto checkpointer = Open();
  ASSERT_TRUE(Save(*checkpointer, 1).ok());
  std::atomic<bool> give_up = false;
  const std::vector<char> weights = EncodeWeights(model_.layout, Values(2, 1), StorageDType::kFloat32);
  ASSERT_TRUE(checkpointer->Begin(2).ok());
  ASSERT_TRUE(
      NoteOptimizerFile(UnfinishedCheckpoint(folder_, 2), 0, 2, absl::ResourceExhaustedError("no room: /x")).ok());
  const absl::Status full = checkpointer->Finish(SampleFacts(2), weights, 2, give_up);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(full.message(), "rank 0 could not write its share of the checkpoint: no room: /x");
  give_up = true;
  ASSERT_TRUE(checkpointer->Begin(2).ok());
  EXPECT_EQ(checkpointer->Finish(SampleFacts(2), weights, 2, give_up).code(), absl::StatusCode::kCancelled);
  EXPECT_FALSE(fs::exists(UnfinishedCheckpoint(folder_, 2)));
  EXPECT_EQ(LoadedStep(), 1u);
}

// The manifest would hold: what a rank did not write is missed all the same.
TEST_F(CheckpointerTest, AFileThatIsMissingOrThereTwiceIsNoticed) {
  const auto checkpointer = Open();
  ASSERT_TRUE(Save(*checkpointer, 1, 2).ok());
  const std::string second = Step("000001") + "/optimizer-00002-of-00002.safetensors";
  fs::rename(second, folder_ + "/kept");
  EXPECT_THAT(std::string(LoadCheckpoint(Step("000001"), model_.layout, All(), SampleLimits()).status().message()),
              HasSubstr("has masters and moments of"));
  fs::copy_file(folder_ + "/kept", second);
  EXPECT_TRUE(LoadCheckpoint(Step("000001"), model_.layout, All(), SampleLimits()).ok());
  fs::copy_file(folder_ + "/kept", Step("000001") + "/optimizer-00003-of-00003.safetensors");
  EXPECT_FALSE(LoadCheckpoint(Step("000001"), model_.layout, All(), SampleLimits()).ok());
}

// A limit on the size of files makes writes fail midway as a full disk does, whatever the file system.
TEST_F(CheckpointerTest, AFailedWriteLeavesTheEarlierOnes) {
  const auto checkpointer = Open();
  ASSERT_TRUE(Save(*checkpointer, 1).ok());
  signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  int failures = 0;
  for (rlim_t limit = 1; limit < 1'000'000; limit *= 3) {
    const rlimit tight = {limit, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    const absl::Status status = Save(*checkpointer, 2);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    if (status.ok()) break;
    ++failures;
    EXPECT_THAT(std::string(status.message()), HasSubstr(".step-000002.tmp"));
    EXPECT_FALSE(fs::exists(folder_ + "/.step-000002.tmp"));
    EXPECT_EQ(LoadedStep(), 1u);
  }
  EXPECT_GE(failures, 5);
  EXPECT_EQ(LoadedStep(), 2u);  // and it goes on when there is room again
}

TEST_F(CheckpointerTest, KilledAtAnyMomentLeavesAGoodOne) {
  { ASSERT_TRUE(Save(*Open(), 1).ok()); }
  std::mt19937 random(4);
  uint64_t last = 1;
  for (int round = 0; round < 10 || (last < 3 && round < 100); ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto checkpointer = TryOpen(2, StorageDType::kBFloat16);
      if (!checkpointer.ok()) _exit(1);
      for (uint64_t step = last + 1;; ++step) {
        if (!Save(**checkpointer, step, /*world=*/step % 2 == 0 ? 2 : 1, StorageDType::kBFloat16).ok()) _exit(2);
      }
    }
    // Longer and longer: on a busy machine a checkpoint takes seconds.
    absl::SleepFor(absl::Milliseconds(5 + random() % static_cast<unsigned>(250 + 50 * round)));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, with " << WEXITSTATUS(status);
    const uint64_t step = LoadedStep();
    EXPECT_GE(step, last);
    last = step;
  }
  EXPECT_GE(last, 3u);
  const auto checkpointer = Open();
  EXPECT_GE(checkpointer->incarnation(), 1u);
  for (const auto& entry : fs::directory_iterator(folder_)) {
    EXPECT_FALSE(absl::StartsWith(entry.path().filename().string(), ".")) << entry.path();
  }
}

}  // namespace
}  // namespace tactus
