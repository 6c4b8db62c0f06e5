#include "common/tasks/usable_rows.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "proto/config.pb.h"

namespace tactus {

absl::StatusOr<std::vector<uint32_t>> UsableRows(const config::TaskOptions& options, absl::string_view what,
                                                 const std::vector<uint32_t>& rows,
                                                 absl::FunctionRef<absl::Status(uint32_t row)> check) {
  std::vector<uint32_t> usable;
  usable.reserve(rows.size());
  absl::Status first;
  for (const uint32_t row : rows) {
    const absl::Status status = check(row);
    if (status.ok()) usable.push_back(row);
    first.Update(status);
  }
  if (first.ok()) return usable;
  const std::string found = absl::StrCat(rows.size() - usable.size(), " of ", rows.size(), " ", what,
                                         " cannot be used; the first is ", first.message());
  if (options.unusable_rows() != config::TaskOptions::LEAVE_OUT) {
    return absl::InvalidArgumentError(absl::StrCat(found, kLeaveOutHint));
  }
  if (usable.empty()) return absl::InvalidArgumentError(found);
  TACTUS_LOG(WARNING) << found << "; they are left out";
  return usable;
}

std::vector<uint32_t> AllRows(size_t count) {
  std::vector<uint32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

}  // namespace tactus
