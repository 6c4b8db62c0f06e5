#include "learner/checkpoint/checkpointer.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/model/folder/safetensors.h"
#include "learner/checkpoint/manifest.h"

namespace tactus {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "step-";
constexpr char kOptimizerFile[] = "optimizer.safetensors";
constexpr char kStateFile[] = "state.pb";
constexpr char kIncarnationFile[] = "incarnation";
// The three tensors of a parameter in optimizer.safetensors, in the order of TrainTensors.
constexpr const char* kKinds[] = {"master.", "exp_avg.", "exp_avg_sq."};

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

absl::Status WriteOptimizer(const std::string& path, const ParameterLayout& layout, const TrainTensors& tensors) {
  const std::span<const float> buffers[] = {tensors.master, tensors.first_moment, tensors.second_moment};
  std::vector<TensorToWrite> list;
  for (size_t kind = 0; kind < std::size(buffers); ++kind) {
    for (const ParameterSpec& spec : layout.specs) {
      list.push_back({absl::StrCat(kKinds[kind], spec.name), spec.shape,
                      buffers[kind].subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel))});
    }
  }
  return WriteSafetensors(path, list, StorageDType::kFloat32);
}

absl::Status ReadOptimizer(const std::string& path, const ParameterLayout& layout, LoadedCheckpoint& out) {
  ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  std::map<absl::string_view, const TensorInfo*> found;
  for (const TensorInfo& tensor : file.tensors()) found[tensor.name] = &tensor;
  if (found.size() != std::size(kKinds) * layout.specs.size()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", found.size(), " tensors; this model needs ",
                                                   std::size(kKinds) * layout.specs.size()));
  }
  std::vector<float>* const buffers[] = {&out.master, &out.first_moment, &out.second_moment};
  for (size_t kind = 0; kind < std::size(buffers); ++kind) {
    buffers[kind]->assign(static_cast<size_t>(layout.total_numel), 0.0f);
    const std::span<float> flat(*buffers[kind]);
    for (const ParameterSpec& spec : layout.specs) {
      const auto tensor = found.find(absl::StrCat(kKinds[kind], spec.name));
      if (tensor == found.end() || tensor->second->shape != spec.shape || tensor->second->dtype != TensorDType::kF32) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": tensor ", kKinds[kind], spec.name, " is missing, not F32 or of another shape"));
      }
      RETURN_IF_ERROR(file.ReadFloats(*tensor->second,
                                      flat.subspan(static_cast<size_t>(spec.offset), static_cast<size_t>(spec.numel))));
    }
    RETURN_IF_ERROR(CheckFinite(layout, flat, absl::StrCat(path, " (", kKinds[kind], "*)")));
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedCheckpoint> LoadCheckpoint(const std::string& path, const ParameterLayout& layout,
                                                const TrajectoryLimits& limits) {
  RETURN_IF_ERROR(VerifyManifest(path));
  LoadedCheckpoint out;
  out.path = path;
  ASSIGN_OR_RETURN(const std::string state, ReadFile(Join(path, kStateFile)));
  ASSIGN_OR_RETURN(out.facts, DecodeTrainFacts(state, limits));
  RETURN_IF_ERROR(ReadOptimizer(Join(path, kOptimizerFile), layout, out));
  return out;
}

// One more than the last one written there, which is the new last one from now on.
absl::StatusOr<uint32_t> ClaimIncarnation(const std::string& folder) {
  const std::string path = Join(folder, kIncarnationFile);
  uint32_t next = 0;
  const absl::StatusOr<std::string> content = ReadFile(path, 64);
  if (content.ok()) {
    uint32_t last = 0;
    if (!absl::SimpleAtoi(*content, &last) || last == UINT32_MAX) {
      return absl::InvalidArgumentError(absl::StrCat(path, " does not hold a number; expected the last incarnation"));
    }
    next = last + 1;
  } else if (!absl::IsNotFound(content.status())) {
    return content.status();
  } else if (!ListCheckpoints(folder).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is missing beside checkpoints; expected the last incarnation (a number above all used)"));
  }
  RETURN_IF_ERROR(WriteFileAtomic(path, absl::StrCat(next, "\n")));
  return next;
}

// What unfinished writes and deletions of an earlier process left.
void RemoveLeftovers(const std::string& folder) {
  for (const fs::path& entry : Entries(folder)) {
    const std::string name = entry.filename().string();
    if (!absl::StartsWith(name, absl::StrCat(".", kPrefix))) continue;
    if (!absl::EndsWith(name, ".tmp") && !absl::EndsWith(name, ".old")) continue;
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
  for (auto& [step, path] : found) paths.push_back(std::move(path));
  return paths;
}

absl::Status VerifyCheckpoint(const std::string& path) { return VerifyManifest(path); }

absl::StatusOr<std::optional<HeadClasses>> ReadHeadClasses(const std::string& path, int calibrated_heads) {
  ASSIGN_OR_RETURN(const std::string state, ReadFile(Join(path, kStateFile)));
  return DecodeHeadClasses(state, calibrated_heads);
}

absl::StatusOr<LoadedCheckpoint> LoadNewestCheckpoint(const std::string& folder, const ParameterLayout& layout,
                                                      const TrajectoryLimits& limits) {
  const std::vector<std::string> paths = ListCheckpoints(folder);
  if (paths.empty()) return absl::NotFoundError(absl::StrCat(folder, " holds no checkpoint"));
  absl::Status newest_error;
  for (const std::string& path : paths) {
    absl::StatusOr<LoadedCheckpoint> loaded = LoadCheckpoint(path, layout, limits);
    if (loaded.ok()) return loaded;
    TACTUS_LOG(WARNING) << "checkpoint " << path
                        << " is not usable, trying the one before: " << std::string(loaded.status().message());
    newest_error.Update(loaded.status());
  }
  return absl::DataLossError(absl::StrCat("none of the ", paths.size(), " checkpoints in ", folder,
                                          " is usable; the newest: ", newest_error.message()));
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

absl::Status Checkpointer::WriteAside(const std::string& aside, const TrainFacts& facts,
                                      const TrainTensors& tensors) const {
  std::error_code error;
  fs::remove_all(aside, error);
  fs::create_directory(aside, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create ", aside));
  RETURN_IF_ERROR(WriteModelFolder(Join(aside, "model"), options_.model, tensors.master, options_.model_dtype));
  RETURN_IF_ERROR(WriteOptimizer(Join(aside, kOptimizerFile), options_.model.layout, tensors));
  RETURN_IF_ERROR(WriteFileAtomic(Join(aside, kStateFile), EncodeTrainFacts(facts)));
  RETURN_IF_ERROR(WriteManifest(aside));
  return SyncPath(aside);
}

absl::Status Checkpointer::Save(const TrainFacts& facts, const TrainTensors& tensors) {
  const ParameterLayout& layout = options_.model.layout;
  for (const std::span<const float> flat : {tensors.master, tensors.first_moment, tensors.second_moment}) {
    if (static_cast<int64_t>(flat.size()) != layout.total_numel) {
      return absl::InvalidArgumentError(
          absl::StrCat("checkpoint: a buffer of ", flat.size(), " floats is given for ", layout.total_numel));
    }
    RETURN_IF_ERROR(CheckFinite(layout, flat, "checkpoint"));
  }
  const std::string name = absl::StrFormat("%s%06d", kPrefix, facts.version.step);
  const std::string path = Join(options_.folder, name);
  const std::string aside = Join(options_.folder, absl::StrCat(".", name, ".tmp"));
  absl::Status status = WriteAside(aside, facts, tensors);
  std::error_code ignored;
  // One of the same number is a bad one: a restore goes back only behind what it cannot use.
  if (status.ok() && fs::exists(path, ignored)) RemoveCheckpoint(path);
  if (status.ok()) status = PublishFolder(aside, path);
  if (!status.ok()) {
    fs::remove_all(aside, ignored);
    return status;
  }
  Prune(facts.version.step);
  return absl::OkStatus();
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
