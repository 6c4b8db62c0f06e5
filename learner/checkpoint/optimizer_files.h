// Master weights and moments in a checkpoint: one file of each rank with what that rank has of them.
//
// One rank's is optimizer.safetensors; of N ranks, rank r's is optimizer-<r+1>-of-<N>.safetensors, both with five
// digits. Tensors are float32 and called master.NAME, exp_avg.NAME and exp_avg_sq.NAME; of a parameter that is cut
// between ranks each file has parts, as master.NAME[begin:end], one-dimensional, counted in elements of the parameter.
// So files written by any number of ranks are read by any number. Blocking file I/O; thread-safe.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/hashed_file.h"
#include "common/model/folder/model_config.h"
#include "common/model/shard.h"

namespace tactus {

// Of some ascending ranges of the flat buffer, end to end: float32, each [NumelOf(ranges)].
struct TrainTensors {
  std::span<const FlatRange> ranges;
  std::span<const float> master;
  std::span<const float> first_moment;
  std::span<const float> second_moment;
};

std::string OptimizerFile(int rank, int world);  // its name

// Writes and syncs the file of `rank` of `world` into `folder`; its digest, made on the way. InvalidArgument: a buffer
// of another size, or NaN or infinity in one, with the tensor's name. ResourceExhausted: the disk is full.
absl::StatusOr<FileDigest> WriteOptimizerFile(const std::string& folder, int rank, int world,
                                              const ParameterLayout& layout, const TrainTensors& tensors);

// What rank 0, which completes the checkpoint, must know of another rank's file: a note beside it, there when the file
// is on the disk, or cannot be. `written` as WriteOptimizerFile gave it.
absl::Status NoteOptimizerFile(const std::string& folder, int rank, int world,
                               const absl::StatusOr<FileDigest>& written);
// Reads and deletes it. NotFound: not there yet. Any other error: the rank's, which is named, or of the note.
absl::StatusOr<FileDigest> TakeOptimizerNote(const std::string& folder, int rank, int world);

// Reads `ranges` of the three out of all files of `folder`. InvalidArgument: they do not hold each parameter of the
// layout once and whole, or not finite.
absl::StatusOr<std::array<std::vector<float>, 3>> ReadOptimizerFiles(const std::string& folder,
                                                                     const ParameterLayout& layout,
                                                                     std::span<const FlatRange> ranges);

}  // namespace tactus
