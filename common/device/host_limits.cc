#include "common/device/host_limits.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace tactus {
namespace {

constexpr size_t kMaxLines = 65536;
constexpr int kMaxCpus = 8192;

// Small files of /proc and /sys: what cannot be read is empty.
std::string Text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::string> Lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; lines.size() < kMaxLines && std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::optional<int64_t> Number(absl::string_view text) {
  int64_t number = 0;
  return absl::SimpleAtoi(text, &number) ? std::optional<int64_t>(number) : std::nullopt;
}

// The value after a name and white space, as in memory.stat and /proc/meminfo.
std::optional<int64_t> Field(const std::string& path, absl::string_view name) {
  for (const std::string& line : Lines(path)) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() >= 2 && words[0] == name) return Number(words[1]);
  }
  return std::nullopt;
}

bool Names(absl::string_view list, absl::string_view controller) {
  const std::vector<absl::string_view> names = absl::StrSplit(list, ',');
  return std::ranges::find(names, controller) != names.end();
}

// A mounted hierarchy: its group `root` is seen at `point`.
struct Mount {
  std::string root, point;
};

// Version 2 for an empty controller.
std::optional<Mount> FindMount(const std::string& root, absl::string_view controller) {
  for (const std::string& line : Lines(absl::StrCat(root, "/proc/self/mountinfo"))) {
    const std::vector<std::string> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<std::string> place = absl::StrSplit(halves[0], ' ');
    const std::vector<std::string> kind = absl::StrSplit(halves[1], ' ');  // type, source, options
    if (place.size() < 5 || kind.size() < 3) continue;
    const bool found = controller.empty() ? kind[0] == "cgroup2" : kind[0] == "cgroup" && Names(kind[2], controller);
    if (found) return Mount{place[3], place[4]};
  }
  return std::nullopt;
}

// The process's group in the hierarchy of a controller.
std::optional<std::string> OwnGroup(const std::string& root, absl::string_view controller) {
  for (const std::string& line : Lines(absl::StrCat(root, "/proc/self/cgroup"))) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const bool found = controller.empty() ? parts[0] == "0" && parts[1].empty() : Names(parts[1], controller);
    if (found) return parts[2];
  }
  return std::nullopt;
}

// The folders of the process's group and of those above it, as far as they are mounted.
std::vector<std::string> GroupFolders(const std::string& root, absl::string_view controller) {
  const std::optional<Mount> mount = FindMount(root, controller);
  const std::optional<std::string> group = OwnGroup(root, controller);
  if (!mount.has_value() || !group.has_value()) return {};
  // In a container the mount may begin at the process's own group, and the group's name be the host's.
  absl::string_view below = *group;
  if (mount->root != "/" && !absl::ConsumePrefix(&below, mount->root)) below = "";
  const std::string top = absl::StrCat(root, mount->point);
  std::vector<std::string> folders;
  for (std::string folder = absl::StrCat(top, absl::StripSuffix(below, "/")); folder.size() > top.size();
       folder.resize(folder.rfind('/'))) {
    folders.push_back(folder);
  }
  folders.push_back(top);
  return folders;
}

// CPUs of a group; infinity: no quota.
double Quota(absl::string_view quota_text, absl::string_view period_text) {
  const int64_t quota = Number(quota_text).value_or(0);  // "max" or -1: none
  const int64_t period = Number(period_text).value_or(0);
  if (quota <= 0 || period <= 0) return std::numeric_limits<double>::infinity();
  return static_cast<double>(quota) / static_cast<double>(period);
}

double QuotaV2(const std::string& folder) {
  const std::vector<std::string> words = absl::StrSplit(absl::StripSuffix(Text(folder + "/cpu.max"), "\n"), ' ');
  return words.size() == 2 ? Quota(words[0], words[1]) : std::numeric_limits<double>::infinity();
}

double QuotaV1(const std::string& folder) {
  return Quota(Text(folder + "/cpu.cfs_quota_us"), Text(folder + "/cpu.cfs_period_us"));
}

// Bytes a group may still take: its limit less what is used and cannot be reclaimed.
int64_t LeftOf(const std::string& folder, const char* limit, const char* used, const char* reclaimable) {
  const std::optional<int64_t> most = Number(Text(absl::StrCat(folder, "/", limit)));
  if (!most.has_value()) return std::numeric_limits<int64_t>::max();  // "max"
  const int64_t taken = Number(Text(absl::StrCat(folder, "/", used))).value_or(0) -
                        Field(folder + "/memory.stat", reclaimable).value_or(0);
  return std::max<int64_t>(0, *most - std::max<int64_t>(0, taken));
}

int AffinityCpus() {
  cpu_set_t* const set = CPU_ALLOC(kMaxCpus);
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
  const int count = set != nullptr && sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
  CPU_FREE(set);
  return count > 0 ? count : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

HostLimits ReadHostLimits(int affinity_cpus, const std::string& root) {
  double cpus = affinity_cpus;
  for (const std::string& folder : GroupFolders(root, "")) cpus = std::min(cpus, QuotaV2(folder));
  for (const std::string& folder : GroupFolders(root, "cpu")) cpus = std::min(cpus, QuotaV1(folder));
  int64_t bytes = Field(absl::StrCat(root, "/proc/meminfo"), "MemAvailable:").value_or(0) * 1024;
  for (const std::string& folder : GroupFolders(root, ""))
    bytes = std::min(bytes, LeftOf(folder, "memory.max", "memory.current", "inactive_file"));
  for (const std::string& folder : GroupFolders(root, "memory"))
    bytes = std::min(bytes, LeftOf(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
  return {.cpus = std::max(1, static_cast<int>(std::floor(cpus))), .available_memory_bytes = bytes};
}

HostLimits OwnHostLimits() { return ReadHostLimits(AffinityCpus(), ""); }

}  // namespace tactus
