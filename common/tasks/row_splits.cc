#include "common/tasks/row_splits.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/data/data_rows.h"

namespace tactus {
namespace {

// The three texts of a row, each but the last behind its length.
std::string Pack(const TaskRow& row) {
  std::string bytes;
  bytes.reserve(2 * sizeof(uint32_t) + row.question.size() + row.answer_key_json.size() + row.where.size());
  for (const std::string* text : {&row.question, &row.answer_key_json}) {
    const auto size = static_cast<uint32_t>(text->size());
    bytes.append(reinterpret_cast<const char*>(&size), sizeof(size));
    bytes.append(*text);
  }
  return bytes.append(row.where);
}

TaskRow Unpack(absl::string_view bytes) {
  const auto next = [&bytes] {
    uint32_t size = 0;
    std::memcpy(&size, bytes.data(), sizeof(size));
    const std::string text(bytes.substr(sizeof(size), size));
    bytes.remove_prefix(sizeof(size) + size);
    return text;
  };
  TaskRow row;
  row.question = next();
  row.answer_key_json = next();
  row.where = std::string(bytes);
  return row;
}

absl::Status CheckPath(absl::string_view field, const std::string& path, absl::string_view row_name) {
  if (!path.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("task.", field, ": expected the path of a JSONL or Parquet file of ", row_name, "s"));
}

absl::Status CheckSome(const RowStore& rows, const std::string& path, absl::string_view row_name) {
  if (rows.size() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": expected at least one ", row_name));
}

}  // namespace

// Which test row has an identity: its number, by 64 bits of the identity's hash, so that two identities are as good as
// never taken for one.
class RowSplits::Identities {
 public:
  void Add(absl::string_view identity, uint32_t row) { rows_.emplace_back(HashOf(identity), row); }
  void Sort() { std::ranges::sort(rows_); }
  // Null: none.
  const uint32_t* Find(absl::string_view identity) const {
    const uint64_t hash = HashOf(identity);
    const auto found = std::ranges::lower_bound(rows_, hash, {}, &std::pair<uint64_t, uint32_t>::first);
    return found != rows_.end() && found->first == hash ? &found->second : nullptr;
  }

 private:
  static uint64_t HashOf(absl::string_view identity) {
    return std::hash<std::string_view>()(std::string_view(identity.data(), identity.size()));
  }

  std::vector<std::pair<uint64_t, uint32_t>> rows_;
};

absl::StatusOr<RowSplits> RowSplits::Read(const TaskSettings& settings, const RowFormat& format) {
  RowSplits splits;
  Identities identities;
  if (!settings.test_only) RETURN_IF_ERROR(CheckPath("train_path", settings.train_path, format.row_name));
  RETURN_IF_ERROR(CheckPath("test_path", settings.test_path, format.row_name));
  RETURN_IF_ERROR(splits.ReadTest(settings, format, identities));
  if (!settings.test_only) RETURN_IF_ERROR(splits.ReadTrain(settings, format, identities));
  return splits;
}

absl::Status RowSplits::ReadTest(const TaskSettings& settings, const RowFormat& format, Identities& identities) {
  const auto add = [&](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(TaskRow row, format.read(line));
    row.where = std::string(line.source());
    if (!settings.test_only) identities.Add(row.identity, static_cast<uint32_t>(test_.size()));
    return test_.Append(Pack(row));
  };
  RETURN_IF_ERROR(ForEachRow(settings.test_path, format.fields, add));
  identities.Sort();
  return CheckSome(test_, settings.test_path, format.row_name);
}

absl::Status RowSplits::ReadTrain(const TaskSettings& settings, const RowFormat& format, const Identities& identities) {
  size_t left_out = 0;
  std::string first;
  const auto add = [&](const JsonField& line) -> absl::Status {
    ASSIGN_OR_RETURN(TaskRow row, format.read(line));
    row.where = std::string(line.source());
    const uint32_t* const held_out = identities.Find(row.identity);
    if (held_out == nullptr) return train_.Append(Pack(row));
    ASSIGN_OR_RETURN(const TaskRow same, At(Split::kTest, *held_out));
    const std::string clash = absl::StrCat(same.where, " asks the ", format.row_name, " of ", row.where);
    if (!settings.leave_out) {
      return absl::InvalidArgumentError(absl::StrCat("task.test_path: ", clash, ", expected test ", format.row_name,
                                                     "s that are not trained on (task.unusable_rows: LEAVE_OUT "
                                                     "trains without them)"));
    }
    if (left_out++ == 0) first = clash;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ForEachRow(settings.train_path, format.fields, add));
  if (left_out > 0) {
    TACTUS_LOG(WARNING) << left_out
                        << " rows of task.train_path are not trained on, since they are held out; the first: " << first;
  }
  return CheckSome(train_, settings.train_path, format.row_name);
}

absl::StatusOr<TaskRow> RowSplits::At(Split split, size_t index) const {
  ASSIGN_OR_RETURN(const std::string bytes, Rows(split).Read(index));
  return Unpack(bytes);
}

}  // namespace tactus
