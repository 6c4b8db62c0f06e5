#include "common/data/data_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json_lines.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/data/parquet_rows.h"
#include "tests/folder_test.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Golden(absl::string_view name) { return SourcePath(absl::StrCat("tests/goldens/data/", name)); }

absl::StatusOr<std::vector<nlohmann::json>> Rows(const std::string& path, const std::vector<std::string>& fields = {}) {
  std::vector<nlohmann::json> rows;
  RETURN_IF_ERROR(ForEachRow(path, fields, [&rows](const JsonField& row) {
    rows.push_back(row.value());
    return absl::OkStatus();
  }));
  return rows;
}

std::string Refusal(const std::string& path, const std::vector<std::string>& fields = {}) {
  const absl::Status status = Rows(path, fields).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << path << ": " << status;
  return std::string(status.message());
}

// Each shape by each of its writers. That JSON lines say what they say is Python's word: scripts/goldens/data_rows.py.
TEST(DataRowsTest, ParquetOfEveryWriterIsTheJsonLines) {
  int files = 0;
  const std::vector<std::string> names = ListFolder(Golden("")).value();
  for (const std::string& name : names) {
    if (name.starts_with("refused") || !name.ends_with(".parquet")) continue;
    ++files;
    const auto lines = Rows(Golden(absl::StrCat(name.substr(0, name.find('.')), ".jsonl")));
    ASSERT_TRUE(lines.ok()) << lines.status();
    ASSERT_GE(lines->size(), 7u);
    const auto rows = Rows(Golden(name));
    ASSERT_TRUE(rows.ok()) << rows.status();
    EXPECT_EQ(*rows, *lines) << name;
    // Not only of one value: an unsigned one too, which the JSON reader has for what is not negative.
    for (size_t i = 0; i < rows->size(); ++i) EXPECT_EQ((*rows)[i].dump(), (*lines)[i].dump()) << name;
  }
  EXPECT_EQ(files, 23);
}

TEST(DataRowsTest, OnlyTheColumnsAskedForAreRead) {
  EXPECT_EQ(Rows(Golden("dapo.arrow.parquet"), {"reward_model.ground_truth", "extra_info"}).value()[6].dump(),
            R"({"extra_info":{"index":"id-7"},"reward_model":{"ground_truth":"49"}})");
  // A column of a type that is not read stands in nobody's way unless it is asked for.
  EXPECT_EQ(Rows(Golden("refused_time.parquet"), {"question"}).value()[0].dump(), R"({"question":"q"})");
}

TEST(DataRowsTest, ARowKnowsWhereItStands) {
  for (const char* name : {"gsm8k.jsonl", "gsm8k.arrow.parquet"}) {
    std::vector<std::string> sources;
    const absl::Status stopped = ForEachRow(Golden(name), {}, [&](const JsonField& row) -> absl::Status {
      sources.emplace_back(row.source());
      return sources.size() == 5 ? absl::AbortedError("enough") : absl::OkStatus();
    });
    EXPECT_EQ(stopped, absl::AbortedError("enough"));
    EXPECT_EQ(sources.size(), 5u);
    EXPECT_EQ(sources.back(), absl::StrCat(Golden(name), ":5")) << "across row groups of 3";
  }
}

TEST(DataRowsTest, RefusesWithASentence) {
  const auto refused = [](absl::string_view name, const std::vector<std::string>& fields = {}) {
    return Refusal(Golden(absl::StrCat("refused_", name, ".parquet")), fields);
  };
  EXPECT_THAT(refused("long_row"), EndsWith("long_row.parquet:2: question: expected a row of at most 4194304 bytes"));
  EXPECT_THAT(refused("huge_page"), HasSubstr("huge_page.parquet: a page or 64 rows claim more than 536870912 bytes"));
  EXPECT_THAT(refused("utf8"), EndsWith("utf8.parquet:2: question: expected text in UTF-8"));
  EXPECT_THAT(refused("binary"), EndsWith("binary.parquet: question: has the type binary, expected text, numbers, "
                                          "booleans, or lists and structs of them"));
  EXPECT_THAT(refused("time"), HasSubstr("time.parquet: answer: has the type timestamp[us], expected text"));
  EXPECT_THAT(Refusal(Golden("dapo.arrow.parquet"), {"prompt", "reward_model.truth"}),
              EndsWith("dapo.arrow.parquet: there is no column \"reward_model.truth\", expected one of data_source, "
                       "prompt, ability, reward_model, extra_info"));
  EXPECT_THAT(Refusal(Golden("dapo.arrow.parquet"), {"prompt.content"}), HasSubstr("no column \"prompt.content\""));
  EXPECT_EQ(Rows(Golden("refused_nothing.parquet")).value().size(), 0u);
  EXPECT_EQ(Rows("/nowhere/a.parquet").status().code(), absl::StatusCode::kNotFound);
}

using DataFilesTest = FolderTest;

TEST_F(DataFilesTest, AFileCutOffAnywhereOrNoParquetIsRefused) {
  const std::string whole = ReadFile(Golden("gsm8k.polars.parquet")).value();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path = Write("cut.parquet", whole.substr(0, size));
    ASSERT_THAT(Refusal(path), StartsWith(path + ": expected a whole Parquet file: ")) << size;
  }
  EXPECT_THAT(Refusal(Write("lines.parquet", "{\"question\":\"q\",\"answer\":1}\n")), HasSubstr("whole Parquet file"));
  EXPECT_THAT(Refusal(folder_ + "/"), HasSubstr("cut.parquet: expected a whole Parquet file"));
}

// No byte of a file makes the reader crash, hang or take more than it may; what it accepts, is rows.
TEST_F(DataFilesTest, ADamagedFileIsRefusedOrRead) {
  size_t refused = 0, changes = 0;
  for (const char* name : {"dapo.duckdb.parquet", "gsm8k.fastparquet.parquet"}) {
    const std::string whole = ReadFile(Golden(name)).value();
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int flip : {0x01, 0xFF}) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ flip);
        const auto rows = Rows(Write("damaged.parquet", damaged));
        ++changes;
        if (rows.ok()) continue;
        ++refused;
        ASSERT_EQ(rows.status().code(), absl::StatusCode::kInvalidArgument) << at << ": " << rows.status();
        ASSERT_EQ(rows.status().message().find('\n'), absl::string_view::npos);
      }
    }
  }
  EXPECT_GT(refused, changes / 4);
  EXPECT_LT(refused, changes) << "a bit of a text is not seen without checksums";
}

TEST_F(DataFilesTest, FoldersAndPatternsNameTheirFilesInOrder) {
  Write("train-2.jsonl", "{\"n\":2}\n");
  Write("train-10.jsonl", "{\"n\":10}\n");
  Write("README.md", "no rows");
  Write("state.json", "{}");
  std::filesystem::copy_file(Golden("countdown.duckdb.parquet"), folder_ + "/a.parquet");
  EXPECT_THAT(DataFiles(folder_).value(),
              ElementsAre(folder_ + "/a.parquet", folder_ + "/train-10.jsonl", folder_ + "/train-2.jsonl"));
  EXPECT_THAT(DataFiles(folder_ + "/train-?.jsonl").value(), ElementsAre(folder_ + "/train-2.jsonl"));
  EXPECT_EQ(Rows(folder_).value().size(), 9u);
  EXPECT_EQ(Rows(folder_ + "/train-*").value()[0].dump(), "{\"n\":10}");
  EXPECT_THAT(DataFiles(folder_ + "/none.jsonl").value(), ElementsAre(folder_ + "/none.jsonl")) << "opening it tells";
  const absl::Status none = DataFiles(folder_ + "/none-*").status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.message()), HasSubstr("none-*: expected files of such names, found none"));
  std::filesystem::create_directory(folder_ + "/empty");
  EXPECT_THAT(std::string(DataFiles(folder_ + "/empty").status().message()),
              HasSubstr("expected files that end in .jsonl or .parquet, found none"));
  Write("odd[1].jsonl", "{\"n\":3}\n");
  EXPECT_EQ(Rows(folder_ + "/odd[1].jsonl").value().size(), 1u) << "a file of that very name";
}

TEST(FieldAtTest, WalksDotsAndNamesWhatIsMissing) {
  const nlohmann::json json = nlohmann::json::parse(R"({"a":{"b":{"c":7}},"d":[1]})");
  const JsonField row(json, "f:1");
  EXPECT_EQ(FieldAt(row, "a.b.c")->Integer().value(), 7);
  EXPECT_EQ(FieldAt(row, "a.b.x").status().message(), "f:1: key \"a.b.x\" is missing");
  EXPECT_EQ(FieldAt(row, "d.x").status().message(), "f:1: d: expected a JSON object, with the key x");
  EXPECT_EQ(FieldAt(row, "a.b.c")->Error("no").message(), "f:1: a.b.c: no");
  EXPECT_EQ(WithoutField(row, "a.b.c").dump(), R"({"a":{"b":{}},"d":[1]})");
  EXPECT_EQ(WithoutField(row, "a").dump(), R"({"d":[1]})");
  EXPECT_EQ(WithoutField(row, "d.x").dump(), json.dump());
}

}  // namespace
}  // namespace tactus
