#include "common/base/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/base/file.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PathsTest : public ::testing::Test {
 protected:
  const std::string folder_ = ::testing::TempDir() + "/tactus_paths_test";
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    ASSERT_TRUE(MakeFolders(folder_).ok());
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    EXPECT_TRUE(WriteFileAtomic(Path(name), text).ok());
    return Path(name);
  }
  // What std::filesystem throws for: a circle of links, a name too long, a file as a folder.
  std::vector<std::string> Traps() const {
    std::filesystem::create_symlink(Path("circle"), Path("circle"));
    return {Path("circle") + "/x", Path(std::string(300, 'n')), Write("file", "") + "/x"};
  }
};

TEST_F(PathsTest, AnswersWhereStdFilesystemThrows) {
  for (const std::string& trap : Traps()) {
    EXPECT_FALSE(Exists(trap)) << trap;
    EXPECT_FALSE(IsFolder(trap)) << trap;
    EXPECT_FALSE(IsRegularFile(trap)) << trap;
    EXPECT_FALSE(IsTaken(trap)) << trap;
    EXPECT_FALSE(SameFile(trap, trap)) << trap;
    EXPECT_THAT(std::string(MakeFolders(trap).message()), HasSubstr(trap));
    EXPECT_THAT(std::string(ListFolder(trap).status().message()), HasSubstr(trap));
    EXPECT_THAT(std::string(KeepAside(trap).status().message()), HasSubstr(trap));
  }
}

TEST_F(PathsTest, ALinkToNothingTakesItsName) {
  std::filesystem::create_symlink("nothing", Path("link"));
  EXPECT_FALSE(Exists(Path("link")));
  EXPECT_TRUE(IsTaken(Path("link")));
  EXPECT_FALSE(IsTaken(Path("nothing")));
}

TEST_F(PathsTest, ListsInOrderAndRemoves) {
  ASSERT_TRUE(MakeFolders(Path("b/c")).ok());
  Write("b/c/2", "");
  Write("b/1", "");
  Write("a", "");
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("a", "b"));
  EXPECT_THAT(*ListFilesBelow(folder_), ElementsAre("a", "b/1", "b/c/2"));
  EXPECT_TRUE(absl::IsNotFound(ListFolder(Path("none")).status()));
  EXPECT_TRUE(RemoveFile(Path("b/1")).ok());
  EXPECT_TRUE(RemoveFile(Path("b/1")).ok()) << "there is none now";
  EXPECT_FALSE(RemoveFile(Path("b")).ok()) << "a folder that holds something";
  EXPECT_THAT(*ListFilesBelow(folder_), ElementsAre("a", "b/c/2"));
}

TEST_F(PathsTest, LinksAFolderWhole) {
  ASSERT_TRUE(MakeFolders(Path("from/model")).ok());
  Write("from/model/weights", "w");
  Write("from/state", "s");
  ASSERT_TRUE(MakeFolders(Path("to/old")).ok());
  Write("to/old/file", "what stood there");
  ASSERT_TRUE(LinkFolder(Path("from"), Path("to")).ok());
  EXPECT_THAT(*ListFilesBelow(Path("to")), ElementsAre("model/weights", "state"));
  EXPECT_TRUE(SameFile(Path("from/state"), Path("to/state"))) << "no second copy of the bytes";
  ASSERT_TRUE(RemoveFolder(Path("from")).ok());
  EXPECT_FALSE(Exists(Path("from")));
  EXPECT_EQ(*ReadFile(Path("to/model/weights")), "w");
  EXPECT_TRUE(RemoveFolder(Path("from")).ok()) << "there is none now";
  EXPECT_TRUE(absl::IsNotFound(LinkFolder(Path("from"), Path("to"))));
  EXPECT_TRUE(Exists(Path("to/state"))) << "nothing was lost by that";
}

TEST_F(PathsTest, NamesWhatAPathMeans) {
  EXPECT_EQ(NameOf("a/b"), "b");
  EXPECT_EQ(NameOf("a/b/"), "b");
  EXPECT_EQ(NameOf("/a/b/../c/."), "c");
  EXPECT_EQ(NameOf("."), std::filesystem::current_path().filename().string());
}

TEST_F(PathsTest, KeepsAsideWhatAFileHeld) {
  const std::string path = Write("f", "first");
  EXPECT_EQ(*KeepAside(path), path + ".damaged");
  EXPECT_EQ(*KeepAside(path), path + ".damaged") << "it is kept already";
  Write("f", "second");
  EXPECT_EQ(*KeepAside(path), path + ".damaged-2");
  EXPECT_TRUE(RemoveFile(path).ok());
  EXPECT_EQ(*ReadFile(path + ".damaged"), "first");
  EXPECT_EQ(*ReadFile(path + ".damaged-2"), "second");
  for (int i = 3; i <= 9; ++i) {
    Write("f", "more");
    EXPECT_TRUE(KeepAside(path).ok());
  }
  Write("f", "too many");
  EXPECT_TRUE(absl::IsResourceExhausted(KeepAside(path).status()));
}

}  // namespace
}  // namespace tactus
