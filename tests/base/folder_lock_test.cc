#include "common/base/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <optional>

namespace tactus {
namespace {

class FolderLockTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  const std::string folder_ = ::testing::TempDir() + "/folder_lock_test";
};

TEST_F(FolderLockTest, IsOneProcesssAtATimeAndSaysWhose) {
  std::optional<FolderLock> first = FolderLock::Take(folder_, "another writer").value();
  const FolderLock moved = *std::move(first);
  first.reset();
  const absl::Status second = FolderLock::Take(folder_, "another writer").status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second.message(), folder_ + " is in use by another writer");
  EXPECT_TRUE(std::filesystem::is_empty(folder_)) << "nothing is left behind, taken or refused";
}

TEST_F(FolderLockTest, EndsWithItsProcess) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto lock = FolderLock::Take(folder_, "another");
    const char byte = lock.ok() ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    pause();
  }
  char taken = 0;
  ASSERT_EQ(read(ready[0], &taken, 1), 1);
  ASSERT_EQ(taken, 'y');
  EXPECT_FALSE(FolderLock::Take(folder_, "another").ok());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(FolderLock::Take(folder_, "another").ok());
}

TEST_F(FolderLockTest, NamesAFolderThatIsMissing) {
  EXPECT_THAT(std::string(FolderLock::Take(folder_ + "/none", "another").status().message()),
              ::testing::HasSubstr(folder_ + "/none"));
}

}  // namespace
}  // namespace tactus
