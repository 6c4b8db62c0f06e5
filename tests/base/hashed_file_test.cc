#include "common/base/hashed_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/file.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

TEST(HashedFileTest, TheDigestIsThatOfWhatStandsThere) {
  const std::string path = testing::TempDir() + "/hashed_file";
  ASSERT_TRUE(WriteFileAtomic(path, "what stood there before").ok());
  auto file = HashedFile::Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->Write("ab").ok());
  ASSERT_TRUE(file->Write("").ok());
  HashedFile moved = *std::move(file);
  ASSERT_TRUE(moved.Write("c").ok());
  const auto digest = moved.Close();
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(digest->bytes, 3u);
  EXPECT_EQ(digest->sha256_hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // FIPS 180-4
  EXPECT_EQ(*ReadFile(path), "abc");
  EXPECT_EQ(*digest, DigestOf("abc"));
}

TEST(HashedFileTest, ErrorsNameThePath) {
  EXPECT_EQ(HashedFile::Create(testing::TempDir() + "/no/such/folder").status().code(), absl::StatusCode::kNotFound);
  auto full = HashedFile::Create("/dev/full");
  ASSERT_TRUE(full.ok());
  const absl::Status status = full->Write("x");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/dev/full"));
}

}  // namespace
}  // namespace tactus
