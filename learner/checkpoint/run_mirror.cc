#include "learner/checkpoint/run_mirror.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/storage/local_copy.h"
#include "learner/checkpoint/checkpointer.h"
#include "learner/checkpoint/manifest.h"

namespace tactus {
namespace {

constexpr char kConfig[] = "config.textproto", kIncarnation[] = "checkpoints/incarnation";
constexpr char kCheckpoints[] = "checkpoints", kBest[] = "checkpoints/best";
constexpr size_t kMaxTextBytes = size_t{1} << 20;

std::string Join(absl::string_view folder, absl::string_view name) { return absl::StrCat(folder, "/", name); }

// Of the run's folder, and so of the mirror.
std::vector<std::string> RecordNames() {
  const RunFolder names{""};
  std::vector<std::string> records;
  for (const std::string& path : {names.metrics(), names.samples(), names.timeline(), names.held_out()}) {
    records.push_back(path.substr(1));
  }
  return records;
}

// The steps of the checkpoints below a folder, complete or not.
template <typename Listing>
std::set<uint64_t> StepsBelow(const Listing& listing, absl::string_view below) {
  std::set<uint64_t> steps;
  for (const auto& [name, bytes] : listing) {
    absl::string_view rest = name;
    if (!absl::ConsumePrefix(&rest, below) || !absl::ConsumePrefix(&rest, "/")) continue;
    const std::optional<uint64_t> step = CheckpointStep(std::string(rest.substr(0, rest.find('/'))));
    if (step.has_value()) steps.insert(*step);
  }
  return steps;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunMirror>> RunMirror::Open(const std::string& uri) {
  ASSIGN_OR_RETURN(StorageUri parsed, StorageUri::Parse(uri));
  ASSIGN_OR_RETURN(std::unique_ptr<Store> store, OpenStore(parsed));
  return std::unique_ptr<RunMirror>(new RunMirror(std::move(parsed), std::move(store)));
}

RunMirror::RunMirror(StorageUri parsed, std::unique_ptr<Store> store)
    : uri_(parsed.Name()), parsed_(std::move(parsed)), store_(std::move(store)) {}

absl::StatusOr<RunMirror::Listing> RunMirror::List() {
  ASSIGN_OR_RETURN(const std::vector<StoredFile> files, store_->List(/*below=*/true));
  Listing listing;
  for (const StoredFile& file : files) listing[file.name] = file.bytes;
  return listing;
}

// Of a small file.
absl::StatusOr<std::string> RunMirror::ReadText(const Listing& listing, const std::string& name) {
  const auto file = listing.find(name);
  const std::string what = Join(uri_, name);
  if (file == listing.end()) return absl::NotFoundError(absl::StrCat(what, ": there is no such file"));
  if (file->second > kMaxTextBytes) {
    return absl::DataLossError(absl::StrCat(what, ": expected at most ", kMaxTextBytes, " bytes"));
  }
  std::string text;
  RETURN_IF_ERROR(store_->Read({.name = name, .bytes = file->second, .tag = {}, .sha256_hex = {}}, 0,
                               [&text](absl::string_view piece) {
                                 absl::StrAppend(&text, piece);
                                 return absl::OkStatus();
                               }));
  return text;
}

absl::StatusOr<std::optional<uint32_t>> RunMirror::Incarnation() {
  ASSIGN_OR_RETURN(const Listing listing, List());
  return IncarnationIn(listing);
}

absl::StatusOr<std::optional<uint32_t>> RunMirror::IncarnationIn(const Listing& listing) {
  const absl::StatusOr<std::string> text = ReadText(listing, kIncarnation);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  RETURN_IF_ERROR(text.status());
  uint32_t incarnation = 0;
  if (!absl::SimpleAtoi(*text, &incarnation)) {
    return absl::DataLossError(absl::StrCat(Join(uri_, kIncarnation), ": expected a number"));
  }
  return incarnation;
}

absl::Status RunMirror::Claim(const RunFolder& folder) {
  const std::atomic<bool> never = false;
  RETURN_IF_ERROR(WriteFile(folder, kIncarnation, never));
  return WriteFile(folder, kConfig, never);
}

absl::Status RunMirror::WriteFile(const RunFolder& folder, const std::string& name, const std::atomic<bool>& give_up) {
  const std::string path = Join(folder.root, name);
  if (!Exists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uint64_t bytes, RegularFileBytes(path));
  return store_->Write(name, path, bytes, give_up);
}

absl::StatusOr<bool> RunMirror::IsComplete(const Listing& listing, const std::string& name) {
  for (const char* file : {kManifestFile, kManifestHashFile}) {
    if (!listing.contains(Join(name, file))) return false;
  }
  ASSIGN_OR_RETURN(const std::string manifest, ReadText(listing, Join(name, kManifestFile)));
  ASSIGN_OR_RETURN(const std::string hash_line, ReadText(listing, Join(name, kManifestHashFile)));
  const absl::StatusOr<FileDigests> files = ParseManifest(manifest, hash_line, Join(uri_, name));
  if (!files.ok()) {
    TACTUS_LOG(WARNING) << std::string(files.status().message()) << ": it is passed over";
    return false;
  }
  return std::ranges::all_of(*files, [&](const auto& entry) {
    const auto stored = listing.find(Join(name, entry.first));
    return stored != listing.end() && stored->second == entry.second.bytes;
  });
}

absl::StatusOr<std::vector<uint64_t>> RunMirror::CompleteSteps(const Listing& listing, const std::string& below) {
  std::vector<uint64_t> complete;
  const std::set<uint64_t> steps = StepsBelow(listing, below);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    ASSIGN_OR_RETURN(const bool whole, IsComplete(listing, CheckpointPath(below, *step)));
    if (whole) complete.push_back(*step);
  }
  return complete;
}

absl::Status RunMirror::UploadCheckpoint(const std::string& path, const std::string& name,
                                         const std::atomic<bool>& give_up) {
  ASSIGN_OR_RETURN(const FileDigests files, ReadManifest(path));
  ASSIGN_OR_RETURN(const std::string hash_line, ReadFile(Join(path, kManifestHashFile), 256));
  ASSIGN_OR_RETURN(Listing listing, List());
  ASSIGN_OR_RETURN(const bool complete, IsComplete(listing, name));
  if (complete) {
    ASSIGN_OR_RETURN(const std::string there, ReadText(listing, Join(name, kManifestHashFile)));
    if (there == hash_line) return absl::OkStatus();
  }
  // Of another history, or cut off: its manifest must not speak for the files that come now.
  RETURN_IF_ERROR(store_->RemoveFolder(name));
  for (const auto& [file, digest] : files) {
    RETURN_IF_ERROR(store_->Write(Join(name, file), Join(path, file), digest.bytes, give_up));
  }
  ASSIGN_OR_RETURN(listing, List());
  for (const auto& [file, digest] : files) {
    const auto stored = listing.find(Join(name, file));
    if (stored != listing.end() && stored->second == digest.bytes) continue;
    return absl::DataLossError(
        absl::StrCat(Join(uri_, Join(name, file)), ": expected ", digest.bytes, " bytes there after it was uploaded"));
  }
  for (const char* file : {kManifestFile, kManifestHashFile}) {
    ASSIGN_OR_RETURN(const uint64_t bytes, RegularFileBytes(Join(path, file)));
    RETURN_IF_ERROR(store_->Write(Join(name, file), Join(path, file), bytes, give_up));
  }
  return absl::OkStatus();
}

absl::Status RunMirror::UploadBest(const RunFolder& folder, const std::atomic<bool>& give_up) {
  if (!IsFolder(folder.best())) return absl::OkStatus();
  for (const std::string& path : ListCheckpoints(folder.best())) {
    const uint64_t step = *CheckpointStep(path);
    RETURN_IF_ERROR(UploadCheckpoint(path, CheckpointPath(kBest, step), give_up));
    ASSIGN_OR_RETURN(const Listing listing, List());
    for (const uint64_t other : StepsBelow(listing, kBest)) {
      if (other != step) RETURN_IF_ERROR(store_->RemoveFolder(CheckpointPath(kBest, other)));
    }
    break;  // two only where a kill came between two renames
  }
  return absl::OkStatus();
}

absl::Status RunMirror::Prune(uint64_t newest_step, int keep) {
  ASSIGN_OR_RETURN(const Listing listing, List());
  ASSIGN_OR_RETURN(const std::vector<uint64_t> complete, CompleteSteps(listing, kCheckpoints));
  std::set<uint64_t> kept;
  for (const uint64_t step : complete) {
    if (step <= newest_step && kept.size() < static_cast<size_t>(std::max(keep, 1))) kept.insert(step);
  }
  for (const uint64_t step : StepsBelow(listing, kCheckpoints)) {
    if (!kept.contains(step)) RETURN_IF_ERROR(store_->RemoveFolder(CheckpointPath(kCheckpoints, step)));
  }
  return absl::OkStatus();
}

absl::Status RunMirror::Upload(const RunFolder& folder, uint64_t step, int keep, const std::atomic<bool>& give_up) {
  ASSIGN_OR_RETURN(const std::optional<uint32_t> writer, Incarnation());
  ASSIGN_OR_RETURN(const uint32_t mine, ReadIncarnation(folder.checkpoints()));
  if (!writer.has_value()) RETURN_IF_ERROR(Claim(folder));  // somebody has deleted it
  if (writer.has_value() && *writer != mine) {
    return absl::AbortedError(absl::StrCat(uri_, ": another learner has begun to write there: expected one a run"));
  }
  for (const std::string& record : RecordNames()) RETURN_IF_ERROR(WriteFile(folder, record, give_up));
  // A second name, since the disk's own rule may delete the first meanwhile.
  const std::string held =
      Join(folder.checkpoints(), absl::StrCat(".", CheckpointName(static_cast<int64_t>(step)), ".upload"));
  const absl::Cleanup release = [&held] { RemoveFolder(held).IgnoreError(); };
  RETURN_IF_ERROR(LinkFolder(CheckpointPath(folder.checkpoints(), step), held));
  RETURN_IF_ERROR(UploadCheckpoint(held, CheckpointPath(kCheckpoints, step), give_up));
  RETURN_IF_ERROR(UploadBest(folder, give_up));
  return Prune(step, keep);
}

absl::StatusOr<std::optional<uint64_t>> RunMirror::NewestStep() {
  ASSIGN_OR_RETURN(const Listing listing, List());
  ASSIGN_OR_RETURN(const std::vector<uint64_t> complete, CompleteSteps(listing, kCheckpoints));
  return complete.empty() ? std::nullopt : std::optional(complete.front());
}

absl::Status RunMirror::Refresh(const RunFolder& folder) {
  ASSIGN_OR_RETURN(const Listing listing, List());
  ASSIGN_OR_RETURN(const std::vector<uint64_t> there, CompleteSteps(listing, kCheckpoints));
  const std::vector<std::string> here = ListCheckpoints(folder.checkpoints());
  if (there.empty() || (!here.empty() && *CheckpointStep(here.front()) >= there.front())) {
    return TakeIncarnation(folder, listing);
  }
  TACTUS_LOG(INFO) << uri_ << " has the checkpoint of step " << there.front() << ", which " << folder.root
                   << " has not";
  return FetchListed(folder, listing, there);
}

absl::Status RunMirror::FetchCheckpoint(const RunFolder& folder, const std::string& name) {
  const std::string path = Join(folder.root, name), parent = path.substr(0, path.rfind('/'));
  if (Exists(path) && VerifyCheckpoint(path).ok()) return absl::OkStatus();
  const std::string aside = Join(parent, absl::StrCat(".", path.substr(parent.size() + 1), ".fetch"));
  RETURN_IF_ERROR(FetchFolder(parsed_ / name, aside, [](absl::string_view) { return true; }));
  absl::Status verified = VerifyCheckpoint(aside);
  if (!verified.ok()) {
    RETURN_IF_ERROR(RemoveFolder(aside));
    return verified;
  }
  RETURN_IF_ERROR(RemoveFolder(path));
  return PublishFolder(aside, path);
}

absl::Status RunMirror::FetchRecords(const RunFolder& folder) {
  std::set<std::string> wanted = {kConfig};
  for (const std::string& record : RecordNames()) wanted.insert(record);
  std::erase_if(wanted, [&](const std::string& name) { return Exists(Join(folder.root, name)); });
  const std::string aside = Join(folder.root, ".records.fetch");
  if (wanted.empty()) return RemoveFolder(aside);
  absl::Status fetched =
      FetchFolder(parsed_, aside, [&wanted](absl::string_view name) { return wanted.contains(std::string(name)); });
  if (!fetched.ok() && !absl::IsNotFound(fetched)) return fetched;
  for (const std::string& name : wanted) {
    if (Exists(Join(aside, name))) RETURN_IF_ERROR(PublishFolder(Join(aside, name), Join(folder.root, name)));
  }
  return RemoveFolder(aside);
}

absl::Status RunMirror::Fetch(const RunFolder& folder) {
  ASSIGN_OR_RETURN(const Listing listing, List());
  ASSIGN_OR_RETURN(const std::vector<uint64_t> complete, CompleteSteps(listing, kCheckpoints));
  if (complete.empty())
    return absl::NotFoundError(absl::StrCat(uri_, ": expected a run with a complete checkpoint, found none"));
  return FetchListed(folder, listing, complete);
}

absl::Status RunMirror::FetchListed(const RunFolder& folder, const Listing& listing,
                                    const std::vector<uint64_t>& complete) {
  RETURN_IF_ERROR(MakeFolders(folder.checkpoints()));
  absl::Status fetched;
  for (const uint64_t step : complete) {
    fetched = FetchCheckpoint(folder, CheckpointPath(kCheckpoints, step));
    if (!absl::IsDataLoss(fetched) && !absl::IsInvalidArgument(fetched)) break;
    TACTUS_LOG(WARNING) << std::string(fetched.message()) << ": trying the checkpoint before";
  }
  RETURN_IF_ERROR(fetched);
  ASSIGN_OR_RETURN(const std::vector<uint64_t> best, CompleteSteps(listing, kBest));
  if (!best.empty()) {
    const absl::Status kept = FetchCheckpoint(folder, CheckpointPath(kBest, best.front()));
    if (!kept.ok()) TACTUS_LOG(WARNING) << "the best checkpoint is left out: " << std::string(kept.message());
  }
  RETURN_IF_ERROR(FetchRecords(folder));
  return TakeIncarnation(folder, listing);
}

// So that the next start in the folder has a larger one than any that began to write to the mirror.
absl::Status RunMirror::TakeIncarnation(const RunFolder& folder, const Listing& listing) {
  ASSIGN_OR_RETURN(const std::optional<uint32_t> there, IncarnationIn(listing));
  if (!there.has_value()) return absl::OkStatus();
  const absl::StatusOr<uint32_t> here = ReadIncarnation(folder.checkpoints());
  if (here.ok() && *here >= *there) return absl::OkStatus();
  RETURN_IF_ERROR(MakeFolders(folder.checkpoints()));
  return WriteFileAtomic(Join(folder.root, kIncarnation), absl::StrCat(*there, "\n"));
}

}  // namespace tactus
