// A run's copy in an object store (checkpoint.upload): what another machine needs to go on.
//
//   URI/config.textproto, metrics.jsonl, samples.jsonl, timeline.jsonl, held_out.jsonl    as of the newest upload
//   URI/checkpoints/incarnation                    as on the disk (checkpointer.h): who writes here
//   URI/checkpoints/step-000120/…                  as on the disk
//   URI/checkpoints/best/step-000100/…
//
// Of a checkpoint manifest.json.sha256 is written last, when the store lists all others with their sizes; one without
// it, or that lacks a file, is none. So whatever is killed when, the newest complete one can be gone on with. The
// submission log does not come along: groups that were handed in after a checkpoint are asked for again.
//
// Blocking; for one thread at a time. Errors are the store's (common/storage/store.h) or the disk's.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/hashed_file.h"
#include "common/metrics/run_folder.h"
#include "common/storage/store.h"

namespace tactus {

class RunMirror {
 public:
  // InvalidArgument: no URI.
  static absl::StatusOr<std::unique_ptr<RunMirror>> Open(const std::string& uri);

  const std::string& uri() const { return uri_; }  // for people

  // The last incarnation that has begun to write here; nullopt: none has.
  absl::StatusOr<std::optional<uint32_t>> Incarnation();
  // From now on it is the one in this folder. Also shows that the store can be written to.
  absl::Status Claim(const RunFolder& folder);

  // Makes the mirror what the folder is: its records, and of the checkpoint of `step`, which nobody else changes, and
  // of the best, those that it has not; then deletes all but the newest `keep`, the best, and what a restore has left
  // behind. Cancelled: `give_up` became true. Aborted: another incarnation has begun to write here.
  absl::Status Upload(const RunFolder& folder, uint64_t step, int keep, const std::atomic<bool>& give_up);

  // The step of the newest complete checkpoint; nullopt: there is none.
  absl::StatusOr<std::optional<uint64_t>> NewestStep();
  // Fetch, unless the folder's newest checkpoint is as new as the mirror's, or the mirror has none: then the
  // incarnation alone.
  absl::Status Refresh(const RunFolder& folder);
  // Puts the newest complete checkpoint that has the hashes of its manifest into the folder, with the best, the
  // incarnation, and, where the folder has none, the configuration and the records. What is fetched goes on where
  // an earlier call was cut off. NotFound: there is no checkpoint; DataLoss: and all are bad.
  absl::Status Fetch(const RunFolder& folder);

 private:
  using Listing = std::map<std::string, uint64_t>;  // bytes by name

  RunMirror(StorageUri parsed, std::unique_ptr<Store> store);
  absl::StatusOr<Listing> List();
  absl::StatusOr<std::optional<uint32_t>> IncarnationIn(const Listing& listing);
  absl::StatusOr<std::string> ReadText(const Listing& listing, const std::string& name);
  // The complete ones below a folder of the mirror, newest first.
  absl::StatusOr<std::vector<uint64_t>> CompleteSteps(const Listing& listing, const std::string& below);
  absl::StatusOr<bool> IsComplete(const Listing& listing, const std::string& name);
  absl::Status WriteFile(const RunFolder& folder, const std::string& name, const std::atomic<bool>& give_up);
  // `name`, as "checkpoints/step-000120", from a folder on the disk that holds it.
  absl::Status UploadCheckpoint(const std::string& path, const std::string& name, const std::atomic<bool>& give_up);
  absl::Status UploadBest(const RunFolder& folder, const std::atomic<bool>& give_up);
  absl::Status Prune(uint64_t newest_step, int keep);
  absl::Status FetchCheckpoint(const RunFolder& folder, const std::string& name);
  absl::Status FetchRecords(const RunFolder& folder);
  // Fetch, of complete checkpoints of these steps.
  absl::Status FetchListed(const RunFolder& folder, const Listing& listing, const std::vector<uint64_t>& complete);
  absl::Status TakeIncarnation(const RunFolder& folder, const Listing& listing);

  const std::string uri_;
  const StorageUri parsed_;
  const std::unique_ptr<Store> store_;
};

}  // namespace tactus
