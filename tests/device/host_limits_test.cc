// Limits as the files of a machine's /proc and control groups tell them, made in the test's own folder.
#include "common/device/host_limits.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tactus {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

class HostLimitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal:       67108864 kB\nMemFree:  1 kB\nMemAvailable:   33554432 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  // A machine with version 2 alone; the group `root` is mounted.
  void MountV2(const std::string& root, const std::string& own) const {
    Write("/proc/self/mountinfo", "24 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n30 24 0:26 " + root +
                                      " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    Write("/proc/self/cgroup", "0::" + own + "\n");
  }
  void MountV1(const std::string& root, const std::string& own) const {
    Write("/proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 " + root +
                                      " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n33 31 0:30 " +
                                      root +
                                      " /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n34 31 0:31 / "
                                      "/sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    Write("/proc/self/cgroup", "5:memory:" + own + "\n4:cpuacct,cpu:" + own + "\n3:cpuset:/\n0::/\n");
  }
  HostLimits Read(int affinity = 64) const { return ReadHostLimits(affinity, root_); }

  const std::string root_ = ::testing::TempDir() + "/host_limits";
};

TEST_F(HostLimitsTest, WithoutGroupsTheMachineAndTheMaskCount) {
  EXPECT_EQ(Read(48).cpus, 48);
  EXPECT_EQ(Read().available_memory_bytes, 32 * kGiB);
  std::filesystem::remove_all(root_);
  EXPECT_EQ(Read(3).cpus, 3);
  EXPECT_EQ(Read().available_memory_bytes, 0) << "unknown";
}

TEST_F(HostLimitsTest, VersionTwoOfThisGroupAndTheOnesAbove) {
  MountV2("/", "/kubepods/pod1/c1");
  EXPECT_EQ(Read().cpus, 64) << "no files: no limits";
  Write("/sys/fs/cgroup/kubepods/pod1/c1/cpu.max", "max 100000\n");
  Write("/sys/fs/cgroup/kubepods/pod1/cpu.max", "250000 100000\n");
  Write("/sys/fs/cgroup/kubepods/cpu.max", "800000 100000\n");
  EXPECT_EQ(Read().cpus, 2) << "2.5 of the pod";
  EXPECT_EQ(Read(1).cpus, 1) << "the mask is smaller";
  Write("/sys/fs/cgroup/kubepods/pod1/c1/cpu.max", "50000 100000\n");
  EXPECT_EQ(Read().cpus, 1) << "never less than one";
  Write("/sys/fs/cgroup/kubepods/pod1/c1/memory.max", "max\n");
  Write("/sys/fs/cgroup/kubepods/pod1/memory.max", std::to_string(8 * kGiB) + "\n");
  EXPECT_EQ(Read().available_memory_bytes, 8 * kGiB);
  Write("/sys/fs/cgroup/kubepods/pod1/memory.current", std::to_string(5 * kGiB) + "\n");
  Write("/sys/fs/cgroup/kubepods/pod1/memory.stat", "anon 7\ninactive_file " + std::to_string(2 * kGiB) + "\nslab 1\n");
  EXPECT_EQ(Read().available_memory_bytes, 5 * kGiB) << "8 less 5, of which 2 can be given back";
  Write("/sys/fs/cgroup/kubepods/pod1/c1/memory.max", "1\n");
  Write("/sys/fs/cgroup/kubepods/pod1/c1/memory.current", "4096\n");
  EXPECT_EQ(Read().available_memory_bytes, 0);
}

TEST_F(HostLimitsTest, AContainerSeesItsOwnGroupAtTheTop) {
  for (const std::string own : {"/", "/docker/abc", "/../other"}) {
    MountV2("/docker/abc", own);
    Write("/sys/fs/cgroup/cpu.max", "300000 100000\n");
    Write("/sys/fs/cgroup/memory.max", std::to_string(kGiB));
    EXPECT_EQ(Read().cpus, 3) << own;
    EXPECT_EQ(Read().available_memory_bytes, kGiB) << own;
  }
  MountV2("/docker/abc", "/docker/abc/init");
  Write("/sys/fs/cgroup/init/cpu.max", "100000 100000\n");
  EXPECT_EQ(Read().cpus, 1);
}

TEST_F(HostLimitsTest, VersionOne) {
  MountV1("/", "/box");
  Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Read().cpus, 64);
  Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "400000\n");
  EXPECT_EQ(Read().cpus, 4);
  Write("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Read().available_memory_bytes, 32 * kGiB) << "what version 1 says for no limit";
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(4 * kGiB));
  Write("/sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(3 * kGiB));
  Write("/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file " + std::to_string(kGiB) + "\n");
  EXPECT_EQ(Read().available_memory_bytes, 2 * kGiB);
}

TEST_F(HostLimitsTest, NonsenseIsNoLimit) {
  MountV2("/", "/a");
  for (const char* text : {"", "\n", "-5 100000\n", "100000 0\n", "x y\n", "100000\n", "1 2 3\n"}) {
    Write("/sys/fs/cgroup/a/cpu.max", text);
    EXPECT_EQ(Read().cpus, 64) << text;
  }
  Write("/proc/self/mountinfo", "nonsense\n - \n1 2 3 - cgroup2\n");
  Write("/proc/self/cgroup", "nonsense\n::\n0::\n");
  EXPECT_EQ(Read().cpus, 64);
}

TEST(OwnHostLimitsTest, AMaskIsHeard) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  const HostLimits own = OwnHostLimits();
  EXPECT_GE(own.cpus, 1);
  EXPECT_LE(own.cpus, CPU_COUNT(&before));
  EXPECT_GT(own.available_memory_bytes, 0);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(OwnHostLimits().cpus, 1);
  EXPECT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

}  // namespace
}  // namespace tactus
