#include "common/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "common/base/paths.h"

namespace tactus {
namespace {

// Field `index` (0 = total, 1 = resident) of /proc/self/statm, in bytes.
double MemoryBytes(int index) {
  std::ifstream statm("/proc/self/statm");
  double pages = 0;
  for (int i = 0; i <= index; ++i) statm >> pages;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double VirtualBytes() { return MemoryBytes(0); }
double ResidentBytes() { return MemoryBytes(1); }

double EntriesOf(const char* folder) {
  return static_cast<double>(ListFolder(folder).value_or(std::vector<std::string>()).size());
}

double OpenFiles() { return EntriesOf("/proc/self/fd"); }
double Threads() { return EntriesOf("/proc/self/task"); }

double MaxFiles() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

// 0 for what is no number.
double Number(const std::string& text) {
  double number = 0;
  return absl::SimpleAtod(text, &number) ? number : 0;
}

// The machine's boot, in Unix time, from /proc/stat.
double BootTime() {
  std::ifstream stat("/proc/stat");
  for (std::string line; std::getline(stat, line);) {
    if (line.rfind("btime ", 0) == 0) return Number(line.substr(6));
  }
  return 0;
}

double StartTime() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  // The program's name, in parentheses, may hold anything; what follows is field 3.
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  const double ticks = Number(field);
  static const double boot = BootTime();
  return boot + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

constexpr ProcessMetricSpec kTable[] = {
    {"process_cpu_seconds_total", MetricType::kCounter, "seconds", "User and system CPU time of the process.",
     ProcessCpuSeconds},
    {"process_resident_memory_bytes", MetricType::kGauge, "bytes", "Resident memory of the process.", ResidentBytes},
    {"process_virtual_memory_bytes", MetricType::kGauge, "bytes", "Virtual memory of the process.", VirtualBytes},
    {"process_open_fds", MetricType::kGauge, "", "Open file descriptors of the process.", OpenFiles},
    {"process_max_fds", MetricType::kGauge, "", "Most file descriptors the process may open.", MaxFiles},
    {"process_threads", MetricType::kGauge, "", "Threads of the process.", Threads},
    {"process_start_time_seconds", MetricType::kGauge, "seconds", "When the process started, in Unix time.", StartTime},
};

}  // namespace

std::span<const ProcessMetricSpec> ProcessMetricTable() { return kTable; }

double ProcessCpuSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::vector<prometheus::MetricFamily> ProcessMetricFamilies() {
  std::vector<prometheus::MetricFamily> families;
  for (const ProcessMetricSpec& spec : kTable) {
    prometheus::ClientMetric metric;
    const bool counter = spec.type == MetricType::kCounter;
    (counter ? metric.counter.value : metric.gauge.value) = spec.read();
    families.push_back(
        {spec.name, spec.help, counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge, {metric}});
  }
  return families;
}

}  // namespace tactus
