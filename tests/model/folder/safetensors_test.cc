#include "common/model/folder/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Scratch(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "tactus_safetensors_test";
  std::filesystem::create_directories(folder);
  return (folder / name).string();
}

std::string FileBytes(const std::string& header, size_t data_bytes, uint64_t length) {
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + std::string(data_bytes, '\1');
}

std::string WriteRaw(const std::string& name, const std::string& bytes) {
  const std::string path = Scratch(name);
  EXPECT_TRUE(WriteFileAtomic(path, bytes).ok());
  return path;
}

// The refusal of a header with `data_bytes` bytes behind it, or "accepted".
std::string Refusal(const std::string& header, uint64_t data_bytes) {
  const auto parsed = ParseSafetensorsHeader(header, data_bytes, "x.safetensors");
  if (parsed.ok()) return "accepted";
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("x.safetensors: the safetensors header "));
  return std::string(parsed.status().message());
}

std::string Tensor(const std::string& name, const std::string& shape, uint64_t begin, uint64_t end,
                   const std::string& dtype = "F32") {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":[", begin, ",",
                      end, "]}");
}

TEST(DTypeTest, BFloat16RoundsToNearestEven) {
  EXPECT_EQ(FloatToBFloat16(1.0f), 0x3f80);
  EXPECT_EQ(FloatToBFloat16(std::bit_cast<float>(0x3f808000)), 0x3f80);  // tie: down to even
  EXPECT_EQ(FloatToBFloat16(std::bit_cast<float>(0x3f818000)), 0x3f82);  // tie: up to even
  EXPECT_EQ(FloatToBFloat16(std::bit_cast<float>(0x3f808001)), 0x3f81);
  EXPECT_EQ(FloatToBFloat16(-std::numeric_limits<float>::max()), 0xff80);
  EXPECT_EQ(FloatToBFloat16(std::numeric_limits<float>::infinity()), 0x7f80);
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(std::bit_cast<float>(0x7f800001)))));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = BFloat16ToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(FloatToBFloat16(value), bits);
  }
}

TEST(DTypeTest, Float16IsExact) {
  EXPECT_EQ(Float16ToFloat(0x3c00), 1.0f);
  EXPECT_EQ(Float16ToFloat(0xc000), -2.0f);
  EXPECT_EQ(Float16ToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(Float16ToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(Float16ToFloat(0x83ff), -1023 * 0x1p-24f);
  EXPECT_EQ(Float16ToFloat(0x0400), 0x1p-14f);
  EXPECT_TRUE(std::signbit(Float16ToFloat(0x8000)));
  EXPECT_EQ(Float16ToFloat(0xfc00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(Float16ToFloat(0x7e00)));
}

TEST(SafetensorsTest, WritesAndReadsBack) {
  const std::vector<float> a = {1, -2, 3.14159f, 0, 1e-20f, 1e20f};
  const std::vector<float> b = {7};
  const std::vector<TensorToWrite> tensors = {{"z.weight", {2, 3}, a}, {"scalar", {}, b}, {"empty", {0, 4}, {}}};
  for (const StorageDType dtype : {StorageDType::kFloat32, StorageDType::kBFloat16}) {
    const std::string path = Scratch("round_trip.safetensors");
    const auto digest = WriteSafetensors(path, tensors, dtype);
    ASSERT_TRUE(digest.ok()) << digest.status();
    EXPECT_EQ(*digest, DigestOf(*ReadFile(path)));
    const auto file = SafetensorsFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->metadata().at("format"), "pt");
    ASSERT_EQ(file->tensors().size(), 3u);
    const TensorInfo* info = file->Find("z.weight");
    EXPECT_THAT(info->shape, ElementsAre(2, 3));
    std::vector<float> got(6);
    ASSERT_TRUE(file->ReadFloats(*info, got).ok());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(got[i], dtype == StorageDType::kFloat32 ? a[i] : BFloat16ToFloat(FloatToBFloat16(a[i])));
    }
    std::vector<float> scalar(1);
    ASSERT_TRUE(file->ReadFloats(*file->Find("scalar"), scalar).ok());
    EXPECT_EQ(scalar[0], 7);
    EXPECT_EQ(file->Find("none"), nullptr);
    EXPECT_FALSE(file->ReadFloats(*info, scalar).ok());  // wrong size
    std::vector<float> part(2);
    ASSERT_TRUE(file->ReadFloats(*info, 3, part).ok());
    EXPECT_THAT(part, ElementsAre(got[3], got[4]));
    EXPECT_EQ(file->ReadFloats(*info, 5, part).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(file->ReadFloats(*info, -1, part).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(SafetensorsTest, EncodedValuesAreWrittenAsTheyAre) {
  const std::vector<uint16_t> bits = {0x3f80, 0xc000, 0x4049};  // bfloat16 of 1, -2 and 3.140625
  const std::span<const char> bytes(reinterpret_cast<const char*>(bits.data()), 6);
  const std::string path = Scratch("encoded.safetensors");
  const std::vector<TensorToWrite> tensors = {{"a", {3}, {}, bytes}};
  ASSERT_TRUE(WriteSafetensors(path, tensors, StorageDType::kBFloat16).ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> got(3);
  ASSERT_TRUE(file->ReadFloats(*file->Find("a"), got).ok());
  EXPECT_THAT(got, ElementsAre(1.0f, -2.0f, 3.140625f));
  EXPECT_EQ(WriteSafetensors(path, tensors, StorageDType::kFloat32).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsTest, WriterRefusesAShapeThatDoesNotMatch) {
  const std::vector<float> values(5);
  const std::vector<TensorToWrite> wrong = {{"a", {2, 3}, values}};
  EXPECT_EQ(WriteSafetensors(Scratch("wrong"), wrong, StorageDType::kFloat32).status().code(),
            absl::StatusCode::kInvalidArgument);
  const std::vector<TensorToWrite> twice = {{"a", {5}, values}, {"a", {5}, values}};
  EXPECT_EQ(WriteSafetensors(Scratch("wrong"), twice, StorageDType::kFloat32).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(Scratch("no/folder"), {}, StorageDType::kFloat32).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(SafetensorsTest, WriterReportsAFullDisk) {
  const std::vector<float> values(1 << 20);
  const std::vector<TensorToWrite> tensors = {{"a", {1 << 20}, values}};
  const absl::Status status = WriteSafetensors("/dev/full", tensors, StorageDType::kFloat32).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/dev/full"));
}

TEST(SafetensorsTest, FileLengthLies) {
  const std::string good = "{" + Tensor("a", "[1]", 0, 4) + "}";
  EXPECT_TRUE(SafetensorsFile::Open(WriteRaw("good", FileBytes(good, 4, good.size()))).ok());
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, good.size() - 1, good.size() + 1, good.size() + 4,
                                good.size() + 5, uint64_t{100'000'001}, UINT64_MAX, UINT64_MAX - 7}) {
    EXPECT_EQ(SafetensorsFile::Open(WriteRaw("lie", FileBytes(good, 4, length))).status().code(),
              absl::StatusCode::kInvalidArgument)
        << length;
  }
  EXPECT_FALSE(SafetensorsFile::Open(WriteRaw("short", "1234567")).ok());
  EXPECT_FALSE(SafetensorsFile::Open(WriteRaw("empty", "")).ok());
  EXPECT_EQ(SafetensorsFile::Open(Scratch("missing")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::Open(Scratch("")).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsTest, FileCutAfterOpenIsAnError) {
  const std::string header = "{" + Tensor("a", "[256]", 0, 1024) + "}";
  const std::string path = WriteRaw("cut", FileBytes(header, 1024, header.size()));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  std::filesystem::resize_file(path, header.size() + 100);
  std::vector<float> out(256);
  EXPECT_EQ(file->ReadFloats(file->tensors()[0], out).code(), absl::StatusCode::kDataLoss);
}

TEST(SafetensorsTest, OtherDTypesAreKnownButNotRead) {
  const std::string header = "{" + Tensor("a", "[1]", 0, 8, "I64") + "}";
  const auto file = SafetensorsFile::Open(WriteRaw("i64", FileBytes(header, 8, header.size())));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> out(1);
  EXPECT_THAT(std::string(file->ReadFloats(file->tensors()[0], out).message()),
              HasSubstr("tensor a is I64; expected F32, BF16 or F16"));
}

TEST(SafetensorsTest, AnUnknownDTypeStandsInNobodysWay) {
  const std::string header = "{" + Tensor("a", "[3]", 0, 2, "F4") + "," + Tensor("b", "[1]", 2, 6) + "}";
  const auto file = SafetensorsFile::Open(WriteRaw("f4", FileBytes(header, 6, header.size())));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> one(1), three(3);
  EXPECT_TRUE(file->ReadFloats(file->tensors()[1], one).ok());
  EXPECT_THAT(std::string(file->ReadFloats(file->tensors()[0], three).message()),
              HasSubstr("tensor a is of an unknown dtype; expected F32, BF16 or F16"));
}

TEST(SafetensorsHeaderTest, AcceptsTheEdgesOfTheFormat) {
  EXPECT_EQ(Refusal("{\"__metadata__\":null," + Tensor("s", "[]", 0, 4) + "}", 4), "accepted");
  EXPECT_THAT(Refusal("{\"__metadata__\":null,\"__metadata__\":{}}", 0), HasSubstr("twice"));
  EXPECT_EQ(Refusal("{}", 0), "accepted");
  EXPECT_EQ(Refusal("{}      ", 0), "accepted");
  EXPECT_EQ(Refusal("{" + Tensor("s", "[]", 0, 4) + "}", 4), "accepted");
  EXPECT_EQ(Refusal("{" + Tensor("b", "[2]", 4, 12) + "," + Tensor("e", "[0]", 4, 4) + "," + Tensor("a", "[1]", 0, 4) +
                        ",\"__metadata__\":{\"format\":\"pt\"}}",
                    12),
            "accepted");
}

TEST(SafetensorsHeaderTest, RefusesMalformedText) {
  EXPECT_THAT(Refusal("", 0), HasSubstr("does not start with {"));
  EXPECT_THAT(Refusal(" {}", 0), HasSubstr("does not start with {"));
  EXPECT_THAT(Refusal("[]", 0), HasSubstr("does not start with {"));
  EXPECT_THAT(Refusal("{}\n", 0), HasSubstr("does not end with }"));
  EXPECT_THAT(Refusal(std::string("{}\0", 3), 0), HasSubstr("does not end with }"));
  EXPECT_THAT(Refusal("{}{}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("{\"a\":}", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("{" + Tensor("\xff\xfe", "[]", 0, 4) + "}", 4), HasSubstr("not valid JSON"));
  std::string nested = "{\"a\":";
  for (int i = 0; i < 100000; ++i) nested += "[";
  EXPECT_THAT(Refusal(nested + "}", 0), HasSubstr("holds a list"));
  EXPECT_THAT(Refusal("{\"a\":{\"b\":{}}}", 0), HasSubstr("unknown or repeated key"));
}

TEST(SafetensorsHeaderTest, RefusesWrongFields) {
  for (const char* value : {"1", "\"x\"", "null", "true", "-1", "0.5"}) {
    EXPECT_THAT(Refusal(absl::StrCat("{\"a\":", value, "}"), 0), HasSubstr("where the format has none")) << value;
    EXPECT_THAT(Refusal(absl::StrCat("{\"a\":{\"shape\":", value, "}}"), 0), HasSubstr("(tensor \"a\")")) << value;
    if (value != std::string("\"x\"")) {
      EXPECT_NE(Refusal(absl::StrCat("{\"__metadata__\":{\"k\":", value, "}}"), 0), "accepted") << value;
    }
  }
  EXPECT_THAT(Refusal("{" + Tensor("a", "[1]", 4, 0, "F12") + "}", 4), HasSubstr("data_offsets [4, 0]"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[-1]", 0, 4) + "}", 4), HasSubstr("a negative number"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[1.0]", 0, 4) + "}", 4), HasSubstr("a fraction"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[[1]]", 0, 4) + "}", 4), HasSubstr("a list"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[1,1,1,1,1,1,1,1,1]", 0, 4) + "}", 4), HasSubstr("more than 8 numbers"));
  EXPECT_THAT(Refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4), HasSubstr("more than 2"));
  EXPECT_THAT(Refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4), HasSubstr("lacks dtype"));
  EXPECT_THAT(Refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4), HasSubstr("lacks dtype"));
  EXPECT_THAT(Refusal(R"({"a":{"dtype":"F32","dtype":"F32"}})", 4), HasSubstr("repeated key"));
  EXPECT_THAT(Refusal("{\"__metadata__\":[]}", 0), HasSubstr("a list"));
  EXPECT_THAT(Refusal("{\"__metadata__\":{\"a\":{}}}", 0), HasSubstr("an object"));
  EXPECT_THAT(Refusal("{\"__metadata__\":{},\"__metadata__\":{}}", 0), HasSubstr("twice"));
  EXPECT_THAT(Refusal("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0), HasSubstr("twice"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[1]", 0, 4) + "," + Tensor("a", "[1]", 4, 8) + "}", 8),
              HasSubstr("names tensor \"a\" twice"));
  EXPECT_THAT(Refusal("{" + Tensor(std::string(513, 'n'), "[1]", 0, 4) + "}", 4), HasSubstr("512 bytes"));
}

TEST(SafetensorsHeaderTest, RefusesOverflow) {
  EXPECT_THAT(Refusal("{" + Tensor("a", "[18446744073709551615]", 0, 4) + "}", 4), HasSubstr("overflows"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[4294967296,4294967296]", 0, 4) + "}", 4), HasSubstr("overflows"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[4611686018427387904]", 0, 0) + "}", 0), HasSubstr("bytes overflow"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[99999999999999999999999]", 0, 4) + "}", 4), HasSubstr("a fraction"));
}

TEST(SafetensorsHeaderTest, RefusesHolesOverlapsAndTails) {
  const std::string a = Tensor("a", "[1]", 0, 4);
  EXPECT_THAT(Refusal("{" + a + "}", 3), HasSubstr("describes 4 bytes of data, but the file holds 3"));
  EXPECT_THAT(Refusal("{" + a + "}", 5), HasSubstr("but the file holds 5"));
  EXPECT_THAT(Refusal("{}", 1), HasSubstr("but the file holds 1"));
  EXPECT_THAT(Refusal("{" + a + "," + Tensor("b", "[1]", 8, 12) + "}", 12), HasSubstr("expected 4, with no hole"));
  EXPECT_THAT(Refusal("{" + a + "," + Tensor("b", "[1]", 0, 4) + "}", 4), HasSubstr("expected 4, with no hole"));
  EXPECT_THAT(Refusal("{" + a + "," + Tensor("b", "[1]", 2, 6) + "}", 6), HasSubstr("no overlap"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[1]", 1, 5) + "}", 5), HasSubstr("expected 0"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[2]", 0, 4) + "}", 4), HasSubstr("data_offsets [0, 4] for 8 bytes"));
  EXPECT_THAT(Refusal("{" + Tensor("a", "[1]", 4, 0) + "}", 4), HasSubstr("data_offsets [4, 0]"));
  EXPECT_THAT(Refusal("{" + a + "," + Tensor("e", "[0]", 2, 2) + "}", 4), HasSubstr("no hole"));
}

TEST(SafetensorsHeaderTest, RefusesBombs) {
  std::string shared = "{" + Tensor("t", "[1]", 0, 4);  // many tensors that share one range
  for (int i = 0; i < 50000; ++i) absl::StrAppend(&shared, ",", Tensor(absl::StrCat("t", i), "[1]", 0, 4));
  EXPECT_THAT(Refusal(shared + "}", 4), HasSubstr("no overlap"));
  std::string many = "{" + Tensor("t", "[0]", 0, 0);
  for (int i = 0; i < 100000; ++i) absl::StrAppend(&many, ",", Tensor(absl::StrCat("t", i), "[0]", 0, 0));
  EXPECT_THAT(Refusal(many + "}", 0), HasSubstr("more than 100000 tensors"));
}

// Whatever a mutated header says, an accepted one covers the data exactly and its sizes are consistent.
TEST(SafetensorsHeaderTest, MutatedHeadersNeverBreakTheInvariants) {
  const std::string good = "{\"__metadata__\":{\"format\":\"pt\"}," + Tensor("a", "[2,3]", 0, 24) + "," +
                           Tensor("b", "[]", 24, 26, "BF16") + "," + Tensor("c", "[0,7]", 26, 26, "I64") + "}   ";
  ASSERT_EQ(Refusal(good, 26), "accepted");
  std::mt19937 random(1);
  const auto draw = [&](size_t bound) { return random() % bound; };
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = good;
    for (size_t edits = 1 + draw(3); edits > 0; --edits) {
      const size_t at = draw(text.size());
      switch (draw(4)) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text[at] = "0123456789{}[]\",:- "[draw(19)];
          break;
        case 2:
          text.erase(at, 1 + draw(8));
          break;
        default:
          text.insert(at, text.substr(draw(text.size()), draw(20)));
      }
      if (text.empty()) break;
    }
    const auto header = ParseSafetensorsHeader(text, 26, "fuzz");
    if (!header.ok()) continue;
    ++accepted;
    uint64_t covered = 0;
    for (const TensorInfo& tensor : header->tensors) {
      ASSERT_EQ(tensor.begin, covered);
      if (tensor.dtype != TensorDType::kOther) {
        ASSERT_EQ(tensor.end - tensor.begin, static_cast<uint64_t>(tensor.numel * TensorDTypeBytes(tensor.dtype)));
      }
      covered = tensor.end;
    }
    ASSERT_EQ(covered, 26u);
  }
  EXPECT_GT(accepted, 100);  // harmless edits: names, metadata, trailing spaces
  EXPECT_LT(accepted, 19000);
}

}  // namespace
}  // namespace tactus
