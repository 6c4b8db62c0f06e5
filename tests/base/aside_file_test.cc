#include "common/base/aside_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "common/base/file.h"
#include "common/base/paths.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AsideFileTest : public ::testing::Test {
 protected:
  const std::string folder_ = ::testing::TempDir() + "/tactus_aside_test";
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    ASSERT_TRUE(MakeFolders(folder_).ok());
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
};

TEST_F(AsideFileTest, ShowsTheOldContentUntilItIsWhole) {
  ASSERT_TRUE(WriteFileAtomic(Path("f"), "old").ok());
  ASSERT_EQ(::chmod(Path("f").c_str(), 0640), 0);
  {
    const auto file = AsideFile::Create(Path("f")).value();
    file->out() << "new" << std::flush;
    EXPECT_EQ(*ReadFile(Path("f")), "old");
  }
  EXPECT_EQ(*ReadFile(Path("f")), "old") << "it was not published";
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("f"));
  const auto file = AsideFile::Create(Path("f")).value();
  file->out() << "new";
  EXPECT_TRUE(file->Publish().ok());
  EXPECT_EQ(*ReadFile(Path("f")), "new");
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("f"));
  struct stat info {};
  ASSERT_EQ(::stat(Path("f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST_F(AsideFileTest, FollowsALink) {
  ASSERT_TRUE(WriteFileAtomic(Path("f"), "old").ok());
  std::filesystem::create_symlink("f", Path("link"));
  const auto file = AsideFile::Create(Path("link")).value();
  file->out() << "new";
  EXPECT_TRUE(file->Publish().ok());
  EXPECT_TRUE(std::filesystem::is_symlink(Path("link")));
  EXPECT_EQ(*ReadFile(Path("f")), "new");
}

TEST_F(AsideFileTest, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  for (const std::string& path : {Path("pipe"), folder_, std::string("/dev/null")}) {
    const absl::Status status = AsideFile::Create(path).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path + ": expected a regular file"));
  }
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_THAT(std::string(AsideFile::Create(Path("no/folder")).status().message()), HasSubstr(Path("no/folder")));
}

TEST_F(AsideFileTest, AScratchFileHasNoName) {
  ASSERT_EQ(::setenv("TMPDIR", folder_.c_str(), 1), 0);
  const auto file = OpenScratchFile().value();
  EXPECT_THAT(*ListFolder(folder_), ElementsAre());
  *file << "text";
  file->seekg(0);
  std::string text;
  EXPECT_TRUE(*file >> text);
  EXPECT_EQ(text, "text");
  ASSERT_EQ(::setenv("TMPDIR", Path("none").c_str(), 1), 0);
  EXPECT_THAT(std::string(OpenScratchFile().status().message()), HasSubstr(Path("none")));
  EXPECT_THAT(std::string(OpenScratchDescriptor().status().message()), HasSubstr(Path("none")));
  ::unsetenv("TMPDIR");
}

}  // namespace
}  // namespace tactus
