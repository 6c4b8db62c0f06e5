#include "learner/checkpoint/checkpointer.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "learner/checkpoint/manifest.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "step-";
constexpr char kModelFolder[] = "model";
constexpr char kStateFile[] = "state.pb";
constexpr absl::Duration kNotePoll = absl::Milliseconds(20);
constexpr char kIncarnationFile[] = "incarnation";

std::string Join(const std::string& folder, absl::string_view name) { return absl::StrCat(folder, "/", name); }

// The number in "step-000123"; nullopt for any other name.
std::optional<uint64_t> StepOf(const std::string& name) {
  absl::string_view digits = name;
  uint64_t step = 0;
  if (!absl::ConsumePrefix(&digits, kPrefix) || digits.empty() || !absl::SimpleAtoi(digits, &step)) return std::nullopt;
  return absl::StrFormat("%s%06d", kPrefix, step) == name ? std::optional(step) : std::nullopt;
}

// The entries of a folder; of one that cannot be read, those that could.
std::vector<fs::path> Entries(const std::string& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  return entries;
}

// Aside first, so that what a crash leaves of a deletion does not look like a checkpoint.
void RemoveCheckpoint(const std::string& path) {
  const fs::path from(path);
  const std::string aside = Join(from.parent_path().string(), absl::StrCat(".", from.filename().string(), ".old"));
  std::error_code error;
  fs::remove_all(aside, error);
  fs::rename(from, aside, error);
  if (!error) fs::remove_all(aside, error);
  if (error) TACTUS_LOG(WARNING) << "cannot delete the old checkpoint " << path << ": " << error.message();
}

// One more than the last one written there, which is the new last one from now on.
absl::StatusOr<uint32_t> ClaimIncarnation(const std::string& folder) {
  const std::string path = Join(folder, kIncarnationFile);
  uint32_t next = 0;
  const absl::StatusOr<uint32_t> last = ReadIncarnation(folder);
  if (last.ok()) {
    next = *last + 1;
  } else if (!absl::IsNotFound(last.status())) {
    return last.status();
  } else if (!ListCheckpoints(folder).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is missing beside checkpoints; expected the last incarnation (a number above all used)"));
  }
  RETURN_IF_ERROR(WriteFileAtomic(path, absl::StrCat(next, "\n")));
  return next;
}

absl::StatusOr<FileDigest> AwaitOptimizerNote(const std::string& aside, int rank, int world,
                                              const std::atomic<bool>& give_up) {
  while (true) {
    absl::StatusOr<FileDigest> digest = TakeOptimizerNote(aside, rank, world);
    if (!absl::IsNotFound(digest.status())) return digest;
    if (give_up) return absl::CancelledError(absl::StrCat("gave up waiting for the file of rank ", rank));
    absl::SleepFor(kNotePoll);
  }
}

// What unfinished writes and deletions of an earlier process left.
void RemoveLeftovers(const std::string& folder) {
  for (const fs::path& entry : Entries(folder)) {
    const std::string name = entry.filename().string();
    if (!absl::StartsWith(name, absl::StrCat(".", kPrefix))) continue;
    if (!absl::EndsWith(name, ".tmp") && !absl::EndsWith(name, ".old") && !absl::EndsWith(name, ".upload")) continue;
    TACTUS_LOG(INFO) << "deleting the unfinished " << entry.string();
    std::error_code ignored;
    fs::remove_all(entry, ignored);
  }
}

}  // namespace

std::vector<std::string> ListCheckpoints(const std::string& folder) {
  std::vector<std::pair<uint64_t, std::string>> found;
  for (const fs::path& entry : Entries(folder)) {
    if (const auto step = StepOf(entry.filename().string())) found.emplace_back(*step, entry.string());
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<std::string> paths;
  paths.reserve(found.size());
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

absl::StatusOr<uint32_t> ReadIncarnation(const std::string& folder) {
  const std::string path = Join(folder, kIncarnationFile);
  ASSIGN_OR_RETURN(const std::string content, ReadFile(path, 64));
  uint32_t last = 0;
  if (absl::SimpleAtoi(content, &last) && last < UINT32_MAX) return last;
  return absl::InvalidArgumentError(absl::StrCat(path, " does not hold a number; expected the last incarnation"));
}

bool HasBegun(const std::string& folder) {
  std::error_code ignored;
  return fs::exists(Join(folder, kIncarnationFile), ignored) || !ListCheckpoints(folder).empty();
}

absl::Status VerifyCheckpoint(const std::string& path) { return VerifyManifest(path); }

absl::StatusOr<std::optional<HeadClasses>> ReadHeadClasses(const std::string& path, int calibrated_heads) {
  ASSIGN_OR_RETURN(const std::string state, ReadFile(Join(path, kStateFile)));
  return DecodeHeadClasses(state, calibrated_heads);
}

absl::StatusOr<std::string> NewestGoodCheckpoint(const std::string& folder) {
  const std::vector<std::string> paths = ListCheckpoints(folder);
  if (paths.empty()) return absl::NotFoundError(absl::StrCat(folder, " holds no checkpoint"));
  absl::Status newest_error;
  for (const std::string& path : paths) {
    const absl::Status verified = VerifyManifest(path);
    if (verified.ok()) return path;
    TACTUS_LOG(WARNING) << "checkpoint " << path
                        << " is not usable, trying the one before: " << std::string(verified.message());
    newest_error.Update(verified);
  }
  return absl::DataLossError(absl::StrCat("none of the ", paths.size(), " checkpoints in ", folder,
                                          " is usable; the newest: ", newest_error.message()));
}

absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const std::string& path, const ParameterLayout& layout,
                                                std::span<const FlatRange> ranges, const TrajectoryLimits& limits) {
  LoadedCheckpoint out;
  out.path = path;
  ASSIGN_OR_RETURN(const std::string state, ReadFile(Join(path, kStateFile)));
  ASSIGN_OR_RETURN(out.facts, DecodeTrainFacts(state, limits));
  ASSIGN_OR_RETURN(auto tensors, ReadOptimizerFiles(path, layout, ranges));
  out.master = std::move(tensors[0]);
  out.first_moment = std::move(tensors[1]);
  out.second_moment = std::move(tensors[2]);
  return out;
}

std::optional<uint64_t> CheckpointStep(const std::string& path) { return StepOf(fs::path(path).filename().string()); }

std::string CheckpointPath(const std::string& folder, uint64_t step) {
  return Join(folder, absl::StrFormat("%s%06d", kPrefix, step));
}

std::string UnfinishedCheckpoint(const std::string& folder, uint64_t step) {
  return Join(folder, absl::StrFormat(".%s%06d.tmp", kPrefix, step));
}

absl::StatusOr<FolderLock> LockCheckpoints(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", folder));
  return FolderLock::Take(folder, "another learner");
}

Checkpointer::Checkpointer(FolderLock lock, Options options, uint32_t incarnation)
    : lock_(std::move(lock)), options_(std::move(options)), incarnation_(incarnation) {}

absl::StatusOr<std::unique_ptr<Checkpointer>> Checkpointer::Open(FolderLock lock, Options options) {
  RemoveLeftovers(options.folder);
  ASSIGN_OR_RETURN(const uint32_t incarnation, ClaimIncarnation(options.folder));
  return std::unique_ptr<Checkpointer>(new Checkpointer(std::move(lock), std::move(options), incarnation));
}

absl::Status Checkpointer::Begin(uint64_t step) const {
  const std::string aside = UnfinishedCheckpoint(options_.folder, step);
  std::error_code error;
  fs::remove_all(aside, error);
  fs::create_directory(aside, error);
  return error ? absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", aside)) : absl::OkStatus();
}

void Checkpointer::Abandon(uint64_t step) const {
  std::error_code ignored;
  fs::remove_all(UnfinishedCheckpoint(options_.folder, step), ignored);
}

absl::Status Checkpointer::WriteAside(const std::string& aside, const TrainFacts& facts, std::span<const char> weights,
                                      int world, const std::atomic<bool>& give_up) const {
  FileDigests files;
  ASSIGN_OR_RETURN(const FileDigests model,
                   WriteModelFolder(Join(aside, kModelFolder), options_.model, weights, options_.model_dtype));
  for (const auto& [name, digest] : model) files[absl::StrCat(kModelFolder, "/", name)] = digest;
  const std::string state = EncodeTrainFacts(facts);
  RETURN_IF_ERROR(WriteFileAtomic(Join(aside, kStateFile), state));
  files[kStateFile] = DigestOf(state);
  for (int rank = 0; rank < world; ++rank) {
    ASSIGN_OR_RETURN(files[OptimizerFile(rank, world)], AwaitOptimizerNote(aside, rank, world, give_up));
  }
  RETURN_IF_ERROR(WriteManifest(aside, files));
  return SyncPath(aside);
}

absl::Status Checkpointer::Finish(const TrainFacts& facts, std::span<const char> weights, int world,
                                  const std::atomic<bool>& give_up) const {
  const uint64_t step = facts.version.step;
  const std::string path = CheckpointPath(options_.folder, step), aside = UnfinishedCheckpoint(options_.folder, step);
  absl::Status status = WriteAside(aside, facts, weights, world, give_up);
  std::error_code ignored;
  // One of the same number is a bad one: a restore goes back only behind what it cannot use.
  if (status.ok() && fs::exists(path, ignored)) RemoveCheckpoint(path);
  if (status.ok()) status = PublishFolder(aside, path);
  if (status.ok()) {
    Prune(step);
  } else {
    Abandon(step);
  }
  return status;
}

uint64_t Checkpointer::OldestLogSegment() const {
  uint64_t oldest = UINT64_MAX;
  for (const std::string& path : ListCheckpoints(options_.folder)) {
    const absl::StatusOr<std::string> state = ReadFile(Join(path, kStateFile));
    if (!state.ok()) return 0;
    oldest = std::min(oldest, DecodeLogSegment(*state).value_or(0));
  }
  return oldest == UINT64_MAX ? 0 : oldest;
}

void Checkpointer::Prune(uint64_t newest_step) const {
  int kept = 0;
  for (const std::string& path : ListCheckpoints(options_.folder)) {
    // A larger number is of the history that a restore left behind, because it was not usable.
    if (*StepOf(fs::path(path).filename().string()) > newest_step || ++kept > std::max(options_.keep, 1)) {
      RemoveCheckpoint(path);
    }
  }
}

}  // namespace tactus
