#include "common/metrics/run_lines.h"

#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/aside_file.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/line_reader.h"
#include "common/base/log.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {
namespace {

constexpr JsonLimits kLimits = {.max_bytes = kMaxRunLineBytes, .max_depth = 4, .max_values = size_t{1} << 22};

absl::StatusOr<int64_t> StepOf(absl::string_view line) {
  constexpr absl::string_view kSource = "a line of a run";
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(line, kSource, kLimits));
  ASSIGN_OR_RETURN(const JsonField step, JsonField(json, kSource).Member("step"));
  return step.Integer();
}

std::string Sentence(const std::string& path, const LineDamage& damage) {
  return absl::StrCat(path, ": ", damage.lines, damage.lines == 1 ? " line is" : " lines are",
                      " damaged and left out, the first is ", damage.first);
}

absl::StatusOr<LineDamage> Scan(const std::string& path, absl::FunctionRef<absl::Status(const LineReader& line)> use) {
  RETURN_IF_ERROR(RegularFileBytes(path).status());
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  LineReader lines(in, kMaxRunLineBytes);
  LineDamage damage;
  while (true) {
    const absl::StatusOr<bool> more = lines.Next();
    if (!more.ok()) return absl::UnavailableError(absl::StrCat(path, ": ", more.status().message()));
    if (!*more) return damage;
    damage.torn = lines.torn();
    if (lines.torn() || (!lines.too_long() && absl::StripAsciiWhitespace(lines.text()).empty())) continue;
    const absl::Status used = lines.too_long()
                                  ? absl::InvalidArgumentError(absl::StrCat("more than ", kMaxRunLineBytes, " bytes"))
                                  : use(lines);
    if (!used.ok() && damage.lines++ == 0) damage.first = absl::StrCat("line ", lines.number(), ": ", used.message());
  }
}

// The file with the lines that are to stay alone: written aside, so that it is whole whatever ends this process.
absl::Status Rewrite(const std::string& path, absl::FunctionRef<bool(int64_t step)> stays) {
  ASSIGN_OR_RETURN(const std::unique_ptr<AsideFile> kept, AsideFile::Create(path));
  const auto copy = [&](const LineReader& line) -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t step, StepOf(line.text()));
    if (stays(step)) kept->out() << line.text() << '\n';
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(Scan(path, copy).status());
  return kept->Publish();
}

}  // namespace

absl::StatusOr<LineDamage> ForEachRunLine(const std::string& path,
                                          absl::FunctionRef<absl::Status(absl::string_view line)> use) {
  return Scan(path, [&](const LineReader& line) { return use(line.text()); });
}

absl::Status ReadRunLines(const std::string& path, absl::FunctionRef<absl::Status(absl::string_view line)> use) {
  ASSIGN_OR_RETURN(const LineDamage damage, ForEachRunLine(path, use));
  if (damage.lines > 0) TACTUS_LOG(WARNING) << Sentence(path, damage);
  return absl::OkStatus();
}

absl::Status CutRunLines(const std::string& path, int64_t keep_through_step) {
  if (!IsRegularFile(path)) return absl::OkStatus();
  AsideFile::RemoveLeftovers(path);
  uint64_t end = 0;                  // of the last line that stays
  int64_t later = 0, misplaced = 0;  // of later steps; and before one of an earlier step, as none is written
  ASSIGN_OR_RETURN(LineDamage damage, Scan(path, [&](const LineReader& line) -> absl::Status {
                     ASSIGN_OR_RETURN(const int64_t step, StepOf(line.text()));
                     if (step > keep_through_step) {
                       ++later;
                     } else {
                       misplaced += std::exchange(later, 0);
                       end = line.begin() + line.text().size() + 1;
                     }
                     return absl::OkStatus();
                   }));
  if (damage.lines == 0 && misplaced > 0) damage.first = "one of a later step than those after it";
  damage.lines += misplaced;
  if (damage.lines > 0) {
    ASSIGN_OR_RETURN(const std::string aside, KeepAside(path));
    TACTUS_LOG(WARNING) << Sentence(path, damage) << "; " << aside << " is the file as it was";
    return Rewrite(path, [&](int64_t step) { return step <= keep_through_step; });
  }
  if (later == 0 && !damage.torn) return absl::OkStatus();
  // In place: a full disk may be what the run is resumed from.
  if (::truncate(path.c_str(), static_cast<off_t>(end)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot cut ", path));
  }
  return SyncPath(path);
}

absl::Status HalveRunLines(const std::string& path) {
  std::optional<int64_t> last;
  bool stays = false;
  return Rewrite(path, [&](int64_t step) {
    if (step != last) stays = !stays;
    last = step;
    return stays;
  });
}

}  // namespace tactus
