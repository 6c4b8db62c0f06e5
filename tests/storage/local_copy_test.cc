#include "common/storage/local_copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/file.h"
#include "common/base/paths.h"
#include "tests/folder_test.h"
#include "tests/storage/test_hub.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

bool Any(absl::string_view) { return true; }

class LocalCopyTest : public FolderTest {
 protected:
  LocalCopyTest() { ::setenv("TACTUS_CACHE", (folder_ + "/cache").c_str(), 1); }

  // Each is asked for once a process: every test has a file of its own name.
  std::string Uri(const std::string& last) const {
    return absl::StrCat("hf://org/name@v1", last.empty() ? "" : "/", last);
  }
  TestHub hub_;
};

TEST_F(LocalCopyTest, PathsStayAsTheyAre) {
  EXPECT_EQ(*LocalModelFolder("models/a"), "models/a");
  EXPECT_EQ(*LocalDataPath("data/*.jsonl"), "data/*.jsonl");
  EXPECT_EQ(*LocalModelFolder("file:///models/a"), "/models/a");
  EXPECT_EQ(*LocalModelConfig("models/a"), "models/a/config.json");
  EXPECT_FALSE(LocalModelFolder("ftp://host/a").ok());
}

TEST_F(LocalCopyTest, ACheckpointStandsForItsModel) {
  ASSERT_TRUE(MakeFolders(folder_ + "/step-000020/model").ok());
  Write("step-000020/model/config.json", "{}");
  EXPECT_EQ(*LocalModelFolder(folder_ + "/step-000020"), folder_ + "/step-000020/model");
  EXPECT_EQ(*LocalModelFolder(folder_ + "/step-000020/model"), folder_ + "/step-000020/model");
  hub_.files = {{"step-000020/manifest.json", {"{}"}}, {"step-000020/model/config.json", {"{}"}}};
  const auto copy = LocalModelFolder(Uri("step-000020"));
  ASSERT_TRUE(copy.ok()) << copy.status();
  EXPECT_THAT(*copy, EndsWith("/model"));
  EXPECT_EQ(*ReadFile(*copy + "/config.json"), "{}");
}

TEST_F(LocalCopyTest, AModelsFilesAndNoOthers) {
  hub_.files = {{"config.json", {"{}"}},
                {"model.safetensors", {"weights"}},
                {"consolidated.safetensors", {"the same again"}},
                {"pytorch_model.bin", {"pickle"}},
                {"onnx/model.json", {"deeper"}}};
  const auto path = LocalModelFolder(Uri(""));
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_THAT(*path, EndsWith("/name"));
  EXPECT_THAT(*ListFolder(*path), ElementsAre(".tactus-copy.json", "config.json", "model.safetensors"));
  EXPECT_EQ(*ReadFile(*path + "/model.safetensors"), "weights");
  EXPECT_EQ(hub_.listings, 1);
  EXPECT_EQ(*LocalModelFolder(Uri("")), *path);
  EXPECT_EQ(hub_.listings, 1) << "once a process";
}

TEST_F(LocalCopyTest, APatternAFileAndAFolderOfData) {
  hub_.files = {{"data/train-0.jsonl", {"a"}},
                {"data/train-1.jsonl", {"b"}},
                {"data/test.jsonl", {"c"}},
                {"data/README.md", {"d"}}};
  const auto pattern = LocalDataPath(Uri("data/train-*.jsonl"));
  ASSERT_TRUE(pattern.ok()) << pattern.status();
  EXPECT_THAT(*pattern, EndsWith("/data/train-*.jsonl"));
  const std::string copy = pattern->substr(0, pattern->rfind('/'));
  EXPECT_THAT(*ListFolder(copy), ElementsAre(".tactus-copy.json", "train-0.jsonl", "train-1.jsonl"));
  EXPECT_EQ(*LocalDataPath(Uri("data/test.jsonl")), copy + "/test.jsonl");
  EXPECT_EQ(*ReadFile(copy + "/test.jsonl"), "c");
  EXPECT_EQ(*LocalDataPath(Uri("data")), copy);
  EXPECT_EQ(hub_.downloads, 3) << "what is there is not fetched again";
  EXPECT_EQ(LocalDataPath(Uri("data/other-*.jsonl")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LocalCopyTest, WhatChangedComesAnewAndWhatIsGoneGoes) {
  hub_.files = {{"b/kept.json", {"k"}}, {"b/changed.json", {"old"}}, {"b/gone.json", {"g"}}};
  const StorageUri uri = *StorageUri::Parse(Uri("b"));
  // A copy that is never completed keeps what it knows.
  hub_.files["b/z-missing.json"] = {.content = "x", .listed_sha256 = std::string(64, '0')};
  const std::string into = folder_ + "/into";
  const absl::Status bad = FetchFolder(uri, into, Any);
  EXPECT_EQ(bad.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(bad.message()), HasSubstr("hf://org/name@v1/b/z-missing.json: its SHA-256 is"));
  EXPECT_FALSE(Exists(into + "/z-missing.json"));
  hub_.files.erase("b/z-missing.json");
  hub_.files.erase("b/gone.json");
  Write("into/changed.json.0123456789ab.part", "of a version that never came to its end");
  hub_.files["b/changed.json"].content = "new";
  hub_.downloads = 0;
  ASSERT_TRUE(FetchFolder(uri, into, Any).ok());
  EXPECT_THAT(*ListFolder(into), ElementsAre("changed.json", "kept.json"));
  EXPECT_EQ(*ReadFile(into + "/changed.json"), "new");
  EXPECT_EQ(hub_.downloads, 1);
}

TEST_F(LocalCopyTest, AFileGoesOnWhereAProcessEnded) {
  const std::string content(100000, 'x');
  hub_.files = {{"c/model.safetensors", {content}}};
  const StorageUri uri = *StorageUri::Parse(Uri("c"));
  const std::string into = folder_ + "/into";
  // The name that holds a part is the content's: see PartOf.
  const std::string part =
      absl::StrCat(into, "/model.safetensors.",
                   Sha256Hex(absl::StrCat(Sha256Hex(content), "/", content.size())).substr(0, 12), ".part");
  ASSERT_TRUE(MakeFolders(into).ok());
  ASSERT_TRUE(WriteFileAtomic(part, content.substr(0, 60000)).ok());
  ASSERT_TRUE(FetchFolder(uri, into, Any).ok());
  EXPECT_EQ(hub_.ranges, 1);
  EXPECT_EQ(*ReadFile(into + "/model.safetensors"), content);
  // A part that is not of this content is found by the hash, and not kept for the next try.
  ASSERT_TRUE(WriteFileAtomic(part, std::string(60000, 'y')).ok());
  EXPECT_EQ(FetchFolder(uri, into, Any).code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(FetchFolder(uri, into, Any).ok());
}

TEST_F(LocalCopyTest, NoNameLeadsOutOfTheFolder) {
  hub_.files = {{"d/../../../evil.json", {"e"}}};
  const absl::Status status = FetchFolder(*StorageUri::Parse(Uri("d")), folder_ + "/deep/into", Any);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("lists a file named ../../../evil.json"));
}

TEST_F(LocalCopyTest, AFolderOnTheDiskIsAStoreToo) {
  ASSERT_TRUE(MakeFolders(folder_ + "/store/deep").ok());
  Write("store/a.json", "a");
  Write("store/deep/b.json", "b");
  const std::string into = folder_ + "/into";
  ASSERT_TRUE(FetchFolder(*StorageUri::Parse("file://" + folder_ + "/store"), into, Any).ok());
  EXPECT_EQ(*ReadFile(into + "/deep/b.json"), "b");
  const absl::Status none = FetchFolder(*StorageUri::Parse("file://" + folder_ + "/none"), into, Any);
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace tactus
