// Everything a run needs to go on, saved and loaded as one atomic unit:
//
//   checkpoints/step-000123/model/                  a Hugging Face folder in the storage dtype, for everyone else
//                          /optimizer*.safetensors  float32 masters and moments of every parameter (optimizer_files.h)
//                          /state.pb                TrainFacts (proto/checkpoint.proto)
//                          /manifest.json           bytes and SHA-256 of every file above
//                          /manifest.json.sha256    as sha256sum writes it
//   checkpoints/incarnation                         the last incarnation any start has used
//
// A checkpoint is written aside (.step-000123.tmp), every file and folder synced, and renamed when complete: a crash
// at any moment leaves the earlier ones untouched. With a sharded optimizer each rank writes its own masters and
// moments into the folder aside, which all ranks see. Rank 0 verifies every byte before use and falls back to the
// newest good one; what it has chosen all ranks load, at any number of ranks and with any sharding. Blocking file I/O.
// Not thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/folder_lock.h"
#include "common/model/folder/hf_folder.h"
#include "learner/checkpoint/optimizer_files.h"
#include "learner/checkpoint/state_codec.h"

namespace tactus {

struct LoadedCheckpoint {
  std::string path;
  TrainFacts facts;           // as saved; see Checkpointer::incarnation for the version to go on with
  std::vector<float> master;  // all three: of the ranges asked for
  std::vector<float> first_moment;
  std::vector<float> second_moment;
};

// The checkpoints of a folder, newest first, by their names; unverified. Empty when there is no folder.
std::vector<std::string> ListCheckpoints(const std::string& folder);

// Whether a learner has begun to train in this folder, with or without a checkpoint yet.
bool HasBegun(const std::string& folder);

// The last incarnation that any start in this folder has used. NotFound: there was none; InvalidArgument: its file
// holds no number.
absl::StatusOr<uint32_t> ReadIncarnation(const std::string& folder);

// InvalidArgument or DataLoss, naming the file: the manifest, or a file that is missing, has another size or another
// SHA-256 than it says.
absl::Status VerifyCheckpoint(const std::string& path);

// The head classes in a checkpoint, which are those of its model; see DecodeHeadClasses. Only their file is read, and
// its hash is not compared. NotFound: `path` holds no checkpoint.
absl::StatusOr<std::optional<HeadClasses>> ReadHeadClasses(const std::string& path, int calibrated_heads);

// The newest checkpoint that verifies; a bad one is skipped with a warning in the log. Changes nothing on disk.
// NotFound: there is none. DataLoss: there are, and all are bad.
absl::StatusOr<std::string> NewestGoodCheckpoint(const std::string& folder);

// What that of `path` holds, and `ranges` of its tensors; its hashes are not compared again. InvalidArgument: it is of
// another model, or a value is not allowed.
absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const std::string& path, const ParameterLayout& layout,
                                                std::span<const FlatRange> ranges, const TrajectoryLimits& limits);

// The step of a checkpoint's path, by its name; nullopt: not a checkpoint's.
std::optional<uint64_t> CheckpointStep(const std::string& path);
// Where the checkpoint of a step is to be found in `folder`, and where while it is written.
std::string CheckpointPath(const std::string& folder, uint64_t step);
std::string UnfinishedCheckpoint(const std::string& folder, uint64_t step);

// Makes the folder where it is missing and takes it for this process: before anything of a run is read or changed.
// Unavailable: another learner has it.
absl::StatusOr<FolderLock> LockCheckpoints(const std::string& folder);

// The one writer of a folder: held by learner rank 0.
class Checkpointer {
 public:
  struct Options {
    std::string folder;        // "…/checkpoints", whose lock is held
    int keep = 3;              // newest ones that Save leaves, at least 1
    ModelFolder model;         // whose config and tokenizer go into model/
    StorageDType model_dtype;  // of model/
  };

  // Clears what a crash left behind and claims a new incarnation, durably.
  static absl::StatusOr<std::unique_ptr<Checkpointer>> Open(FolderLock lock, Options options);
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  // Larger than that of every earlier start in this folder, 0 for the first: versions of this process carry it, so
  // steps trained again after a restore never share a name with the lost ones.
  uint32_t incarnation() const { return incarnation_; }

  // Makes an empty UnfinishedCheckpoint, for all ranks to write their optimizer files into.
  absl::Status Begin(uint64_t step) const;
  // Adds everything else to that of facts.version.step, waits for the notes of the `world` ranks' files, and makes it
  // the checkpoint of this number, in the place of one there is; then deletes what is newer (unusable, or the restore
  // would have gone on from there) and all but the newest `keep`. `weights` as EncodeWeights gives them in the model's
  // dtype. On an error nothing is left of the new one and the earlier ones stand. ResourceExhausted: the disk is full;
  // another rank's error; Cancelled: `give_up` became true, the only other end of the wait. Any thread, one at a time.
  absl::Status Finish(const TrainFacts& facts, std::span<const char> weights, int world,
                      const std::atomic<bool>& give_up) const;
  // Instead of Finish.
  void Abandon(uint64_t step) const;

  // The submission log's segments before this one are needed by no checkpoint that is kept, so not after a fallback
  // either. 0 when one of them cannot be read.
  uint64_t OldestLogSegment() const;

 private:
  Checkpointer(FolderLock lock, Options options, uint32_t incarnation);
  absl::Status WriteAside(const std::string& aside, const TrainFacts& facts, std::span<const char> weights, int world,
                          const std::atomic<bool>& give_up) const;
  void Prune(uint64_t newest_step) const;

  const FolderLock lock_;
  const Options options_;
  const uint32_t incarnation_;
};

}  // namespace tactus
