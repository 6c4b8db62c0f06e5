#include "common/storage/local_copy.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/file_calls.h"
#include "common/base/folder_lock.h"
#include "common/base/json_field.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/paths.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/base/strict_json.h"
#include "common/base/file_pieces.h"
#include "common/storage/store.h"

namespace tactus {
namespace {

constexpr char kRecord[] = ".tactus-copy.json", kPart[] = ".part", kModelConfig[] = "config.json";
constexpr char kCheckpointModel[] = "model";
constexpr absl::Duration kLockPoll = absl::Milliseconds(200), kLockWait = absl::Hours(6);
constexpr absl::Duration kSayEvery = absl::Seconds(10);

using Wanted = absl::FunctionRef<bool(absl::string_view name)>;

absl::Status Stopped(absl::string_view what) {
  return *StopRequested() ? absl::CancelledError(absl::StrCat(what, ": asked to stop")) : absl::OkStatus();
}

// What a copy has, by file: what the store said of it. Empty of one that was never completed.
using Copied = std::map<std::string, StoredFile>;

absl::StatusOr<Copied> ReadRecord(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kRecord);
  if (!Exists(path)) return Copied{};
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, path, {.max_bytes = size_t{1} << 26}));
  RETURN_IF_ERROR(JsonField(json, path).CheckObject());
  Copied copied;
  for (const auto& [name, value] : json.items()) {
    const JsonField field(value, path);
    StoredFile& file = copied[name];
    JSON_MEMBER(file.bytes, field, "bytes", Unsigned());
    JSON_MEMBER(file.tag, field, "tag", String());
  }
  return copied;
}

absl::Status WriteRecord(const std::string& folder, const Copied& copied) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, file] : copied) json[name] = {{"bytes", file.bytes}, {"tag", file.tag}};
  return WriteFileAtomic(absl::StrCat(folder, "/", kRecord), json.dump(1));
}

// Where a file grows; named by its content, so that another one never goes on in it.
std::string PartOf(const std::string& path, const StoredFile& file) {
  return absl::StrCat(path, ".", Sha256Hex(absl::StrCat(file.tag, "/", file.bytes)).substr(0, 12), kPart);
}

class Progress {
 public:
  Progress(std::string what, uint64_t had, uint64_t bytes) : what_(std::move(what)), had_(had), bytes_(bytes) {}
  void Add(size_t bytes) {
    had_ += bytes;
    if (MonotonicNow() - said_ < kSayEvery) return;
    said_ = MonotonicNow();
    TACTUS_LOG(INFO) << absl::StrFormat("%s: %.1f of %.1f MiB", what_, static_cast<double>(had_) / 1048576,
                                        static_cast<double>(bytes_) / 1048576);
  }

 private:
  const std::string what_;
  uint64_t had_;
  const uint64_t bytes_;
  absl::Time said_ = MonotonicNow();
};

absl::Status Fetch(Store& store, const StorageUri& from, const StoredFile& file, const std::string& path) {
  const std::string part = PartOf(path, file), what = (from / file.name).Name();
  RETURN_IF_ERROR(MakeFolders(path.substr(0, path.rfind('/'))));
  const int out = ::open(part.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (out < 0) return FromErrno("cannot write", part);
  const absl::Cleanup close = [out] { ::close(out); };
  ASSIGN_OR_RETURN(uint64_t had, RegularFileBytes(part));
  Sha256 hash;
  if (had > file.bytes) {
    if (::ftruncate(out, 0) != 0) return FromErrno("cannot cut", part);
    had = 0;
  }
  RETURN_IF_ERROR(ForEachPiece(part, had, [&hash](absl::string_view piece) {
    hash.Update(piece);
    return absl::OkStatus();
  }));
  Progress progress(what, had, file.bytes);
  RETURN_IF_ERROR(store.Read(file, had, [&](absl::string_view piece) -> absl::Status {
    RETURN_IF_ERROR(Stopped(what));
    if ((had += piece.size()) > file.bytes)
      return absl::DataLossError(absl::StrCat(what, ": is longer than its store said"));
    hash.Update(piece);
    progress.Add(piece.size());
    return WriteAll(out, piece, part);
  }));
  const std::string found = hash.FinishHex();
  if (!file.sha256_hex.empty() && found != file.sha256_hex) {
    RETURN_IF_ERROR(RemoveFile(part));
    return absl::DataLossError(absl::StrCat(what, ": its SHA-256 is ", found, ", expected ", file.sha256_hex));
  }
  if (::fsync(out) != 0) return FromErrno("cannot sync", part);
  return std::rename(part.c_str(), path.c_str()) == 0 ? absl::OkStatus() : FromErrno("cannot rename", part);
}

bool HasIt(const std::string& path, const StoredFile& file, const Copied& copied) {
  const auto known = copied.find(file.name);
  if (known == copied.end() || known->second.bytes != file.bytes || known->second.tag != file.tag) return false;
  const absl::StatusOr<uint64_t> bytes = RegularFileBytes(path);
  return bytes.ok() && *bytes == file.bytes;
}

absl::Status FetchMissing(Store& store, const StorageUri& from, const std::string& into,
                          const std::vector<StoredFile>& missing, Copied& copied, Copied& now) {
  uint64_t bytes = 0;
  for (const StoredFile& file : missing) bytes += file.bytes;
  if (!missing.empty()) {
    TACTUS_LOG(INFO) << "fetching " << missing.size() << " files, " << bytes << " bytes, from " << from.Name();
  }
  for (const StoredFile& file : missing) {
    RETURN_IF_ERROR(Stopped(from.Name()));
    RETURN_IF_ERROR(Fetch(store, from, file, absl::StrCat(into, "/", file.name)));
    copied[file.name] = now[file.name] = file;
    RETURN_IF_ERROR(WriteRecord(into, copied));
  }
  return absl::OkStatus();
}

// `below`: files in its folders, too.
absl::Status FetchWanted(const StorageUri& from, const std::string& into, bool below, Wanted wanted) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Store> store, OpenStore(from));
  ASSIGN_OR_RETURN(const std::vector<StoredFile> listed, store->List(below));
  ASSIGN_OR_RETURN(Copied copied, ReadRecord(into));
  Copied now;  // without what the store has no more
  std::vector<StoredFile> missing;
  bool found = false;
  for (const StoredFile& file : listed) {
    if (!LeadsDown(file.name)) {
      return absl::FailedPreconditionError(absl::StrCat(from.Name(), ": lists a file named ", file.name));
    }
    const bool has = HasIt(absl::StrCat(into, "/", file.name), file, copied), want = wanted(file.name);
    if (has) now[file.name] = file;
    if (want && !has) missing.push_back(file);
    found |= want;
  }
  if (!found) return absl::NotFoundError(absl::StrCat(from.Name(), ": expected files there, found none"));
  RETURN_IF_ERROR(FetchMissing(*store, from, into, missing, copied, now));
  ASSIGN_OR_RETURN(const std::vector<std::string> there, ListFilesBelow(into));
  for (const std::string& name : there) {  // what the store has no more, and parts of what it once had
    const bool stale = copied.contains(name) || absl::EndsWith(name, kPart);
    if (stale && !now.contains(name)) RETURN_IF_ERROR(RemoveFile(absl::StrCat(into, "/", name)));
  }
  return copied.size() == now.size() ? absl::OkStatus() : WriteRecord(into, now);
}

absl::StatusOr<std::string> CacheFolder() {
  for (const auto& [name, below] :
       {std::pair{"TACTUS_CACHE", ""}, {"XDG_CACHE_HOME", "/tactus"}, {"HOME", "/.cache/tactus"}}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return absl::StrCat(value, below);
  }
  return absl::FailedPreconditionError("there is no place for what is fetched: expected a folder in TACTUS_CACHE");
}

absl::StatusOr<FolderLock> AwaitLock(const std::string& folder, const std::string& what) {
  const absl::Time end = MonotonicNow() + kLockWait;
  bool said = false;
  while (true) {
    absl::StatusOr<FolderLock> lock = FolderLock::Take(folder, "another process that fetches into it");
    if (!absl::IsUnavailable(lock.status()) || MonotonicNow() >= end) return lock;
    RETURN_IF_ERROR(Stopped(what));
    if (!std::exchange(said, true)) TACTUS_LOG(INFO) << "waiting for another process that fetches " << what;
    absl::SleepFor(kLockPoll);
  }
}

// The copy of a folder in the cache, its wanted files up to date.
absl::StatusOr<std::string> CopyOf(const StorageUri& folder, Wanted wanted) {
  ASSIGN_OR_RETURN(const std::string cache, CacheFolder());
  const std::string copy =
      absl::StrCat(cache, "/", folder.scheme, "/", Sha256Hex(folder.Text()).substr(0, 16), "/", folder.Last());
  RETURN_IF_ERROR(MakeFolders(copy));
  ASSIGN_OR_RETURN(const FolderLock lock, AwaitLock(copy, folder.Name()));
  RETURN_IF_ERROR(FetchWanted(folder, copy, /*below=*/false, wanted));
  return copy;
}

// Some repositories hold the weights twice, as consolidated.safetensors too: whoever reads Hugging Face folders reads
// those called model.
bool IsModelFile(absl::string_view name) {
  if (absl::EndsWith(name, ".safetensors")) return absl::StartsWith(name, "model");
  for (const char* ending : {".json", ".jinja", ".txt", ".model"}) {
    if (absl::EndsWith(name, ending)) return true;
  }
  return false;
}

bool HoldsModel(const std::string& folder) { return Exists(absl::StrCat(folder, "/", kModelConfig)); }

absl::StatusOr<std::string> CopyOfModel(const StorageUri& uri) {
  ASSIGN_OR_RETURN(const std::string copy, CopyOf(uri, IsModelFile));
  if (HoldsModel(copy)) return copy;
  const absl::StatusOr<std::string> inside = CopyOf(uri / kCheckpointModel, IsModelFile);
  return inside.ok() ? inside : copy;  // what it lacks is told by who reads it
}

absl::StatusOr<std::string> CopyOfConfig(const StorageUri& uri) {
  return CopyOf(uri, [](absl::string_view name) { return name == kModelConfig; });
}

absl::StatusOr<std::string> CopyOfData(const StorageUri& uri) {
  const size_t slash = uri.path.rfind('/');
  const std::string last = slash == std::string::npos ? uri.path : uri.path.substr(slash + 1);
  if (!IsDataFile(last) && !absl::StrContains(last, '*')) return CopyOf(uri, IsDataFile);
  const StorageUri parent{.scheme = uri.scheme, .path = uri.path.substr(0, slash), .query = uri.query};
  ASSIGN_OR_RETURN(const std::string copy, CopyOf(parent, [&last](absl::string_view name) {
                     return ::fnmatch(last.c_str(), std::string(name).c_str(), FNM_PERIOD) == 0;
                   }));
  return absl::StrCat(copy, "/", last);
}

// `copy` of a URI, once a process.
absl::StatusOr<std::string> Local(const std::string& path, absl::StatusOr<std::string> (*copy)(const StorageUri&)) {
  if (!IsUri(path)) return path;
  ASSIGN_OR_RETURN(const StorageUri uri, StorageUri::Parse(path));
  if (uri.scheme == "file") return uri.path;
  static absl::Mutex mutex(absl::kConstInit);
  using Asked = std::pair<absl::StatusOr<std::string> (*)(const StorageUri&), std::string>;
  static std::map<Asked, std::string>* const copies = new std::map<Asked, std::string>;
  const absl::MutexLock lock(&mutex);
  std::string& known = (*copies)[{copy, path}];
  if (known.empty()) {
    ASSIGN_OR_RETURN(known, copy(uri));
  }
  return known;
}

}  // namespace

absl::StatusOr<std::string> LocalModelFolder(const std::string& path) {
  ASSIGN_OR_RETURN(std::string folder, Local(path, CopyOfModel));
  std::string inside = absl::StrCat(folder, "/", kCheckpointModel);
  return !HoldsModel(folder) && HoldsModel(inside) ? std::move(inside) : std::move(folder);
}
absl::StatusOr<std::string> LocalModelConfig(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string folder, Local(path, CopyOfConfig));
  return absl::StrCat(folder, "/", kModelConfig);
}
bool IsDataFile(absl::string_view name) { return absl::EndsWith(name, ".jsonl") || absl::EndsWith(name, ".parquet"); }
absl::StatusOr<std::string> LocalDataPath(const std::string& path) { return Local(path, CopyOfData); }

absl::Status FetchFolder(const StorageUri& from, const std::string& into, Wanted wanted) {
  RETURN_IF_ERROR(MakeFolders(into));
  RETURN_IF_ERROR(FetchWanted(from, into, /*below=*/true, wanted));
  return RemoveFile(absl::StrCat(into, "/", kRecord));
}

}  // namespace tactus
