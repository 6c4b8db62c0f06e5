// A segment of the learner's write-ahead log. Whatever is in it, the log opens, hands over records that are no longer
// than allowed, and takes new ones, which the next opening reads.
#include <memory>
#include <string>
#include <vector>

#include "learner/ledger/submission_log.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {
namespace {

constexpr size_t kMostPayload = 64;

std::vector<std::string> Records(const SubmissionLog& log) {
  std::vector<std::string> records;
  const absl::Status status = log.Replay(0, kMostPayload, [&](absl::string_view payload) {
    Require(payload.size() <= kMostPayload, "a record is no longer than allowed");
    records.emplace_back(payload);
  });
  Require(status.ok(), "a log that can be read is replayed");
  return records;
}

std::unique_ptr<SubmissionLog> Open(const std::string& folder) {
  absl::StatusOr<std::unique_ptr<SegmentStore>> segments = OpenSegmentFolder(folder);
  Require(segments.ok(), "the folder opens");
  absl::StatusOr<std::unique_ptr<SubmissionLog>> log = SubmissionLog::Open(*std::move(segments));
  Require(log.ok(), "the log opens");
  return *std::move(log);
}

}  // namespace

void FuzzSubmissionLogSegment(absl::string_view input) {
  static InputFolder folder;
  folder.Clear();
  folder.Write("group-00000007.log", input);
  std::vector<std::string> before;
  {
    const std::unique_ptr<SubmissionLog> log = Open(folder.path());
    before = Records(*log);
    const SubmissionLog::Payload added[] = {{"added"}};
    Require(log->Append(added).ok(), "it takes another record");
  }
  before.emplace_back("added");
  Require(Records(*Open(folder.path())) == before, "the next opening reads what there was and what was added");
}

}  // namespace tactus::fuzz
