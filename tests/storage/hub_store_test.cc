#include "common/storage/hub_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/storage/test_hub.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Store> Open(const std::string& uri) { return *OpenStore(*StorageUri::Parse(uri)); }

std::vector<std::string> Names(const absl::StatusOr<std::vector<StoredFile>>& files) {
  std::vector<std::string> names;
  if (files.ok()) {
    for (const StoredFile& file : *files) names.push_back(file.name);
  }
  return names;
}

TEST(HubStoreTest, ListsAndReadsOneCommit) {
  TestHub hub;
  hub.files = {
      {"config.json", {"{}"}}, {"onnx/model.bin", {"onnx"}}, {"model.safetensors", {std::string(300000, 'w')}}};
  const std::unique_ptr<Store> store = Open("hf://org/name@v1");
  const auto files = store->List(/*below=*/false);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(Names(files), ElementsAre("config.json", "model.safetensors"));
  EXPECT_THAT(Names(store->List(/*below=*/true)), ElementsAre("config.json", "model.safetensors", "onnx/model.bin"));
  EXPECT_EQ(files->back().sha256_hex, Sha256Hex(std::string(300000, 'w')));
  EXPECT_EQ(hub.authorization, "Bearer hf_secret");
  std::string read;
  const auto add = [&read](absl::string_view piece) {
    absl::StrAppend(&read, piece);
    return absl::OkStatus();
  };
  ASSERT_TRUE(store->Read(files->back(), 7, add).ok());
  EXPECT_EQ(read, std::string(300000 - 7, 'w'));
  EXPECT_EQ(hub.ranges, 1);
  EXPECT_THAT(Names(Open("hf://org/name@v1/onnx")->List(/*below=*/true)), ElementsAre("model.bin"));
}

TEST(HubStoreTest, GoesOnWhereAConnectionBroke) {
  TestHub hub;
  std::string content(500000, '\0');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7919 >> 3);
  hub.files = {{"model.safetensors", {content}}};
  hub.cut_downloads = 1;
  const std::unique_ptr<Store> store = Open("hf://org/name@v1");
  const auto files = store->List(/*below=*/false);
  ASSERT_TRUE(files.ok()) << files.status();
  std::string read;
  const absl::Status status = store->Read(files->front(), 0, [&read](absl::string_view piece) {
    absl::StrAppend(&read, piece);
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(read, content);
  EXPECT_EQ(hub.downloads, 2);
  EXPECT_EQ(hub.ranges, 1) << "the second asks for the rest alone";
}

TEST(HubStoreTest, SaysWhatIsWrong) {
  TestHub hub;
  hub.status = 404;
  EXPECT_EQ(Open("hf://org/name@v1")->List(false).status().code(), absl::StatusCode::kNotFound);
  hub.status = 403;
  const absl::Status denied = Open("hf://org/name@v1")->List(false).status();
  EXPECT_EQ(denied.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(denied.message()), HasSubstr("HF_TOKEN"));
  EXPECT_EQ(OpenStore(*StorageUri::Parse("hf://org/name@")).status().code(), absl::StatusCode::kInvalidArgument);
  const std::atomic<bool> never = false;
  EXPECT_EQ(Open("hf://org/name@v1")->Write("a", "b", 0, never).code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace tactus
