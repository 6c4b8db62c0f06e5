// What this process may use of the machine it runs on: no more than its affinity mask (and so its cpuset), and the
// quotas and limits of its control groups, of version 1 and 2 and of every group above its own. In a container the
// machine's own numbers are somebody else's. Reads /proc and /sys/fs/cgroup; thread-safe.
#pragma once

#include <cstdint>
#include <string>

namespace tactus {

struct HostLimits {
  int cpus = 1;                        // whole ones: a quota of 2.5 CPUs keeps 2 threads running
  int64_t available_memory_bytes = 0;  // that can still be taken; 0: unknown
};

// `affinity_cpus`: how many the affinity mask names; `root`: where /proc and the groups are mounted, for tests.
HostLimits ReadHostLimits(int affinity_cpus, const std::string& root);

// Of this process, now.
HostLimits OwnHostLimits();

}  // namespace tactus
