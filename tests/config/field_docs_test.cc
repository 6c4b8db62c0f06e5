// What is written about the configuration's fields, and that docs/configuration.md is current.
#include "common/config/field_docs.h"

#include "common/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tree.h"

namespace tactus::config {
namespace {

using ::testing::HasSubstr;

TEST(FieldDocsTest, ATerminalGetsALineAField) {
  const std::string text = FieldsText();
  EXPECT_THAT(text, HasSubstr("\nrollout.temperature                 1               from 0.01 to 100\n"));
  EXPECT_THAT(text, HasSubstr("\nrollout.stop_token_ids                              at least 0\n"));
  EXPECT_THAT(text, HasSubstr("\nmodel.dtype                         FLOAT32         FLOAT32, BFLOAT16\n"));
  EXPECT_THAT(text, HasSubstr("\ntask.prompt_style                   \"chat\"          \"chat\" or \"compact\"\n"));
  EXPECT_THAT(text, HasSubstr("\ncredit.horizon_max_tokens           100; 50 with PAPER_V1 from 0 to 1048576\n"));
  EXPECT_THAT(text, HasSubstr("\nmodel.prompt_template\n"));
}

TEST(FieldDocsTest, TheFileInDocsIsCurrentAndEveryFieldHasAMeaning) {
  const absl::StatusOr<std::string> text = FieldsMarkdown(*ReadFile(TACTUS_CONFIG_DESCRIPTORS));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*ReadFile(SourcePath("docs/configuration.md")), *text) << "run: build/release/bin/config_docs docs";
  EXPECT_THAT(*text, ::testing::Not(HasSubstr(" |  |\n"))) << "a field of proto/config.proto without a comment";
  EXPECT_THAT(*text, HasSubstr("`SIGN_V1`: the weight applies where the advantage is >= 0."));
}

TEST(FieldDocsTest, RefusesWhatIsNoDescriptorSet) {
  EXPECT_FALSE(FieldsMarkdown("nonsense").ok());
  EXPECT_FALSE(FieldsMarkdown("").ok());
}

}  // namespace
}  // namespace tactus::config
