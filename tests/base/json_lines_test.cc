#include "common/base/json_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// "where value" of every line, then the error, if there was one.
std::vector<std::string> Read(const std::string& text, const JsonLimits& limits = kJsonLineLimits) {
  std::istringstream in(text);
  std::vector<std::string> seen;
  const absl::Status status = ForEachJsonLine(
      in, "f",
      [&seen](const JsonField& line) {
        seen.push_back(absl::StrCat(line.source(), " ", line.value().dump()));
        return absl::OkStatus();
      },
      limits);
  if (!status.ok()) seen.emplace_back(status.message());
  return seen;
}

TEST(JsonLinesTest, SkipsBlankLinesAndCountsThem) {
  EXPECT_THAT(Read("1\n\n 2 \r\n\t\r\n3"), ElementsAre("f:1 1", "f:3 2", "f:5 3"));
  EXPECT_THAT(Read("1\r\n\r\n"), ElementsAre("f:1 1"));
  EXPECT_THAT(Read(""), ElementsAre());
  EXPECT_THAT(Read("\n"), ElementsAre());
}

TEST(JsonLinesTest, AByteOrderMarkIsNoPartOfTheFirstLine) {
  EXPECT_THAT(Read("\xEF\xBB\xBF"
                   "1\r\n2"),
              ElementsAre("f:1 1", "f:2 2"));
  EXPECT_THAT(Read("\xEF\xBB\xBF\r\n2\n"), ElementsAre("f:2 2"));
}

TEST(JsonLinesTest, BoundsALineWhateverItsLength) {
  JsonLimits limits;
  for (const size_t size : {10, (1 << 14) - 2, (1 << 14) - 1, 1 << 14, (1 << 14) + 1, 100'000}) {
    limits.max_bytes = size;
    const std::string line = absl::StrCat("\"", std::string(size - 2, 'x'), "\"");
    EXPECT_THAT(Read(line + "\n7\n" + line, limits), ElementsAre("f:1 " + line, "f:2 7", "f:3 " + line)) << size;
    EXPECT_THAT(Read("7\n " + line, limits),
                ElementsAre("f:1 7", absl::StrCat("f:2: expected a line of at most ", size, " bytes")))
        << size;
  }
}

TEST(JsonLinesTest, StopsAtTheFirstBadLine) {
  EXPECT_THAT(Read("1\n[\n3"), ElementsAre("f:1 1", HasSubstr("f:2: not valid JSON at byte 2")));
  EXPECT_THAT(Read(std::string("1\n\0\n", 4)), ElementsAre("f:1 1", HasSubstr("f:2: not valid JSON")));
}

TEST(JsonLinesTest, AFailedInputIsAnError) {
  std::istringstream in("1\n2\n");
  JsonLines lines(in, "f");
  EXPECT_TRUE(*lines.Next());
  EXPECT_EQ(lines.text(), "1");
  in.setstate(std::ios::badbit);
  EXPECT_EQ(lines.Next().status(), absl::UnavailableError("f could not be read."));
}

TEST(JsonLinesTest, ReadsAFileByName) {
  const std::string path = ::testing::TempDir() + "/json_lines_test.jsonl";
  std::ofstream(path) << "1\n\n2\n";
  int sum = 0;
  const auto add = [&sum](const JsonField& line) {
    sum += static_cast<int>(*line.Integer());
    return absl::OkStatus();
  };
  EXPECT_TRUE(ForEachJsonLine(path, add).ok());
  EXPECT_EQ(sum, 3);
  const absl::Status missing = ForEachJsonLine("/nowhere/f.jsonl", add);
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/nowhere/f.jsonl"));
  EXPECT_THAT(std::string(ForEachJsonLine(::testing::TempDir(), add).message()), HasSubstr("cannot open"));
  std::filesystem::resize_file(path, kMaxJsonFileBytes + 1);  // a hole: takes no room
  EXPECT_THAT(std::string(ForEachJsonLine(path, add).message()), HasSubstr("274877906945 bytes, more than the limit"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tactus
