#include "common/storage/storage_uri.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tactus {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(StorageUriTest, ReadsWhatItWrites) {
  for (const char* text :
       {"s3://bucket", "s3://bucket/a/b", "s3://bucket/a?endpoint_override=127.0.0.1:9000&scheme=http", "gs://b/c",
        "gs://anonymous@b/c", "hf://org/name", "hf://org/name@v1.0/onnx", "hf://datasets/org/name@main/data",
        "file:///a/b"}) {
    const auto uri = StorageUri::Parse(text);
    ASSERT_TRUE(uri.ok()) << uri.status();
    EXPECT_EQ(uri->Text(), text);
  }
  EXPECT_EQ(StorageUri::Parse("s3://bucket/a//")->Text(), "s3://bucket/a");
}

TEST(StorageUriTest, PartsAreWhatTheyAreCalled) {
  const StorageUri uri = *StorageUri::Parse("s3://bucket/runs/a?region=eu-west-1");
  EXPECT_EQ(uri.path, "bucket/runs/a");
  EXPECT_EQ(uri.query, "region=eu-west-1");
  EXPECT_EQ(uri.Name(), "s3://bucket/runs/a");
  EXPECT_EQ((uri / "step-000001").Text(), "s3://bucket/runs/a/step-000001?region=eu-west-1");
  EXPECT_EQ(uri.Last(), "a");
  EXPECT_EQ(StorageUri::Parse("hf://org/name@main")->Last(), "name");
}

TEST(StorageUriTest, RefusesWhatIsNone) {
  for (const char* text : {"", "runs/a", "http://host/a", "s3:/bucket/a", "s3://", "s3:///a", "s3://bucket/../other",
                           "s3://bucket/a//b", "s3://bucket/./a", "file://relative/a", "file:///a?b=c", "hf://name",
                           "hf://datasets/name", "hf://org/name?x=y", "s3://bucket/a\nb"}) {
    EXPECT_EQ(StorageUri::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(StorageUriTest, NoPasswordStandsInOneNorInItsRefusal) {
  for (const char* text : {"s3://key:hunter2@bucket/a", "s3://bucket/a?secret_key=hunter2"}) {
    const absl::Status status = StorageUri::Parse(text).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected no key or password in it"));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("hunter2")));
  }
}

TEST(StorageUriTest, PathsAreNoUris) {
  EXPECT_TRUE(IsUri("s3://bucket/a"));
  EXPECT_TRUE(IsUri("nonsense://a"));
  for (const char* path : {"a/b", "/a/b", "a:b", "://a", "a b://c", ""}) EXPECT_FALSE(IsUri(path)) << path;
}

TEST(StorageUriTest, WhatAStoreListsLeadsDown) {
  for (const char* name : {"a", "a/b.json", "..a/b"}) EXPECT_TRUE(LeadsDown(name)) << name;
  for (const char* name : {"", "/a", "../a", "a/../b", "a//b", "a/", "."}) EXPECT_FALSE(LeadsDown(name)) << name;
}

}  // namespace
}  // namespace tactus
