// What a tokenizer.json may not say: each mistake is one error that names the file and the field.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <span>

#include "common/tokenizer/tokenizer.h"
#include "nlohmann/json.hpp"
#include "tests/tree.h"

namespace tactus {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kFolder = SourcePath("tests/goldens/tokenizer/");

std::string TempFile() { return testing::TempDir() + "/bad_tokenizer.json"; }

absl::Status LoadText(const std::string& text) {
  std::ofstream(TempFile(), std::ios::binary) << text;  // not synced: some tests write thousands
  return Tokenizer::FromFile(TempFile()).status();
}

json Small() {
  return json::parse(R"({
    "version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

json AddedTokenJson(int id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

json Split(const std::string& regex) {
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}},
            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
}

TEST(BadTokenizerFileTest, SmallOneIsGood) {
  EXPECT_TRUE(LoadText(Small().dump()).ok());
  json with_regex = Small();
  with_regex["pre_tokenizer"] = Split("[^\\s]+|\\s+(?!\\S)|(?i:'s|'[tm])|(a|b)?c{2,}|\\.?+");
  EXPECT_THAT(LoadText(with_regex.dump()).message(), HasSubstr("matches the empty text"));
  with_regex["pre_tokenizer"] = Split("[^\\s]+|\\s+(?!\\S)|(?i:'s|'[tm])|(a|b)?c{2,}|\\.++");
  EXPECT_TRUE(LoadText(with_regex.dump()).ok()) << LoadText(with_regex.dump());
}

TEST(BadTokenizerFileTest, MissingFile) {
  EXPECT_EQ(Tokenizer::FromFile("/nowhere/tokenizer.json").status().code(), absl::StatusCode::kNotFound);
}

// A JSON merge patch (RFC 7386) on Small(): null takes a member away.
struct BadCase {
  const char* patch;
  const char* error;
};

void ExpectErrors(std::span<const BadCase> cases) {
  for (const BadCase& bad : cases) {
    json root = Small();
    root.merge_patch(json::parse(bad.patch));
    const absl::Status status = LoadText(root.dump());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.patch;
    EXPECT_THAT(status.message(), HasSubstr(TempFile() + ": " + bad.error)) << bad.patch;
  }
}

TEST(BadTokenizerFileTest, NamesTheFieldOfTheModel) {
  constexpr BadCase kCases[] = {
      {"[]", "expected an object"},
      {R"({"version": "2.0"})", "version: expected \"1.0\""},
      {R"({"model": null})", "model: expected an object"},
      {R"({"model": {"type": "Unigram"}})", "model.type: expected \"BPE\""},
      {R"({"model": {"dropout": 0.1}})", "model.dropout: expected null or 0"},
      {R"({"model": {"continuing_subword_prefix": "##"}})", "model.continuing_subword_prefix: expected null"},
      {R"({"model": {"end_of_word_suffix": 3}})", "model.end_of_word_suffix: expected"},
      {R"({"model": {"byte_fallback": "no"}})", "model.byte_fallback: expected true or false"},
      {R"({"model": {"ignore_merges": 1}})", "model.ignore_merges: expected true or false"},
      {R"({"model": {"unk_token": "?"}})", "model.unk_token: expected a token of the vocabulary"},
      {R"({"model": {"vocab": null}})", "model.vocab: expected an object"},
      {R"({"model": {"vocab": [1]}})", "model.vocab: expected an object"},
      {R"({"model": {"vocab": {"a": "0"}}})", "model.vocab.a: expected an integer"},
      {R"({"model": {"vocab": {"a": 0.5}}})", "model.vocab.a: expected an integer"},
      {R"({"model": {"vocab": {"a": -1}}})", "model.vocab.a: expected an integer"},
      {R"({"model": {"vocab": {"a": 4000000000}}})", "model.vocab.a: expected an integer"},
      {R"({"model": {"vocab": {"a": 18446744073709551615}}})", "model.vocab.a: expected an integer"},
      {R"({"model": {"vocab": {"b": 0}}})", "model.vocab.b: the id 0 belongs to another token already"},
      {R"({"model": {"merges": null}})", "model.merges: expected an array"},
      {R"({"model": {"merges": ["a c"]}})", "model.merges[0]: \"c\" is not a token of the vocabulary"},
      {R"({"model": {"merges": ["a b", "b a"]}})", "model.merges[1]: \"ba\" is not a token"},
      {R"({"model": {"merges": ["ab"]}})", "model.merges[0]: expected \"left right\""},
      {R"({"model": {"merges": [["a", "b", "a"]]}})", "model.merges[0]: expected"},
      {R"({"model": {"merges": [7]}})", "model.merges[0]: expected"},
  };
  ExpectErrors(kCases);
}

TEST(BadTokenizerFileTest, NamesTheFieldOfTheOtherParts) {
  constexpr BadCase kCases[] = {
      {R"({"normalizer": {"type": "Lowercase"}})", "normalizer.type: expected NFC"},
      {R"({"normalizer": "NFC"})", "normalizer: expected an object"},
      {R"({"pre_tokenizer": null})", "pre_tokenizer: expected"},
      {R"({"pre_tokenizer": {"type": "Metaspace"}})", "pre_tokenizer.type: expected Sequence, Split"},
      {R"({"pre_tokenizer": {"add_prefix_space": 1}})", "pre_tokenizer.add_prefix_space: expected true or false"},
      {R"({"pre_tokenizer": {"type": "Digits", "individual_digits": true}})",
       "pre_tokenizer: expected ByteLevel once, as the last step"},
      {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}})", "pre_tokenizer: expected ByteLevel once"},
      {R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": {}}})",
       "pre_tokenizer.pretokenizers: expected an array"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolate", "invert": false}})",
       "pre_tokenizer.behavior: expected Removed, Isolated"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated"}})",
       "pre_tokenizer.invert: expected true or false"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": "a"}})", "pre_tokenizer.pattern: expected an object"},
      {R"({"decoder": {"type": "WordPiece"}})", "decoder.type: expected Sequence"},
      {R"({"decoder": null})", "decoder: expected"},
      {R"({"decoder": {"type": "Replace", "pattern": {"String": ""}, "content": "x"}})",
       "decoder.pattern: expected a String that is not empty"},
      {R"({"post_processor": {"type": "BertProcessing"}})",
       "post_processor.type: expected ByteLevel, one TemplateProcessing"},
      {R"({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X"}}],
           "special_tokens": {}}})",
       "post_processor.special_tokens.X: expected an object"},
      {R"({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "X"}}],
           "special_tokens": {"X": {"ids": [99]}}}})",
       "post_processor.special_tokens.X.ids[0]: expected an integer from 0 to 2"},
      {R"({"post_processor": {"type": "TemplateProcessing", "single": [], "special_tokens": {}}})",
       "post_processor.single: expected sequence A"},
  };
  ExpectErrors(kCases);
}

TEST(BadTokenizerFileTest, NamesTheFieldOfAnAddedToken) {
  const std::pair<json, const char*> cases[] = {
      {json::object(), "added_tokens: expected an array"},
      {json::array({{{"id", 3}, {"content", "<x>"}}}), "added_tokens[0].single_word: expected true or false"},
      {json::array({AddedTokenJson(3, "")}), "added_tokens[0].content: expected 1 to 1024 bytes"},
      {json::array({AddedTokenJson(3, std::string(1025, 'x'))}), "added_tokens[0].content: expected 1 to 1024 bytes"},
      {json::array({AddedTokenJson(3, "a")}), "added_tokens[0].id: expected 0, which this token has in model.vocab"},
      {json::array({AddedTokenJson(7, "<x>")}), "added_tokens[0].id: expected 3, the next id"},
      {json::array({AddedTokenJson(3, "<x>"), AddedTokenJson(3, "<y>")}), "added_tokens[1].id: expected 4"},
      {json::array({AddedTokenJson(3, "<x>"), AddedTokenJson(4, "<x>")}),
       "added_tokens[1]: this content was added already"},
  };
  for (const auto& [added, error] : cases) {
    json root = Small();
    root["added_tokens"] = added;
    EXPECT_THAT(LoadText(root.dump()).message(), HasSubstr(TempFile() + ": " + error));
  }
  json root = Small();
  root["model"]["vocab"] = {{"a", 0}, {"b", 3}, {"ab", 2}};
  root["added_tokens"] = json::array({AddedTokenJson(3, "<x>")});
  EXPECT_THAT(LoadText(root.dump()).message(), HasSubstr("added_tokens[0]: the id 3 belongs to another token already"));
}

TEST(BadTokenizerFileTest, RefusesRegexesThatMeanSomethingElse) {
  const std::pair<const char*, const char*> cases[] = {
      {"\\w+", "an escape of this kind at byte 0"},
      {"a|\\p{Sc}", "an escape of this kind at byte 2"},
      {"(a+)+b", "a repeated group"},
      {"(?:a|b)*", "a repeated group"},
      {"(?<=a)b", "a group of this kind"},
      {"(?i)a", "a group of this kind"},
      {"(*UCP)a", "a group of this kind"},
      {"a**", "a repeated quantifier"},
      {"a{2}{3}", "a quantifier behind an interval"},
      {"a{2,1}", "does not compile"},
      {"a{99999}", "an interval of this kind"},
      {"a{,2}", "an interval of this kind"},
      {"a.b", "a bare ."},
      {"^a", "a bare ^"},
      {"*a", "a bare *"},
      {"(a", "a group without its )"},
      {"a)", "an unmatched )"},
      {"[a", "a class without its ]"},
      {"[]", "a nested or empty class"},
      {"[[a]]", "a nested or empty class"},
      {"[z-a]", "a class range of this kind"},
      {"[a-\\s]", "a class range of this kind"},
      {"[\\s\\S]x|[^\\s\\S]", "a class that nothing is in"},
      {"(?i:\\p{L})", "a Unicode class inside (?i:"},
      {"(?i:[^a])", "a class that is not plain ASCII"},
      {"(?i:stop)", "a pair of letters that folds"},
      {"(?i:\u00e9)", "a character outside ASCII"},
      {"a\\", "an escape of this kind"},
      {"a*", "matches the empty text"},
      {"", "matches the empty text"},
  };
  for (const auto& [regex, error] : cases) {
    json root = Small();
    root["pre_tokenizer"] = Split(regex);
    const absl::Status status = LoadText(root.dump());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << regex;
    EXPECT_THAT(status.message(), HasSubstr("pre_tokenizer.pretokenizers[0].pattern: the regex")) << regex;
    EXPECT_THAT(status.message(), HasSubstr(error)) << regex;
  }
  json root = Small();
  root["pre_tokenizer"] = Split(std::string(100, '(') + "a" + std::string(100, ')'));
  EXPECT_THAT(LoadText(root.dump()).message(), HasSubstr("nested too deeply"));
  root["pre_tokenizer"] = Split(std::string(5000, 'a'));
  EXPECT_THAT(LoadText(root.dump()).message(), HasSubstr("more than 4096"));
}

TEST(BadTokenizerFileTest, RefusesTextThatIsNoJson) {
  EXPECT_THAT(LoadText("").message(), HasSubstr("not valid JSON"));
  EXPECT_THAT(LoadText("{\"a\": 1,\n}").message(), HasSubstr("line 2"));
  EXPECT_THAT(LoadText("{\"a\": \"\xff\"}").message(), HasSubstr("not valid JSON"));
  EXPECT_THAT(LoadText(std::string(1000000, '[')).message(), HasSubstr("more than 64 nested levels"));
  EXPECT_THAT(LoadText(R"({"model": )" + std::string(70, '[') + std::string(70, ']') + "}").message(),
              HasSubstr("more than 64 nested levels"));
}

// Any single byte of a good file changed: an error or a tokenizer, never a crash.
TEST(BadTokenizerFileTest, SurvivesEveryChangedByte) {
  const std::string good = Small().dump();
  int loaded = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char c : {'0', '"', '}', '\0', '\xff'}) {
      std::string text = good;
      text[i] = c;
      std::ofstream(TempFile(), std::ios::binary) << text;
      const auto tokenizer = Tokenizer::FromFile(TempFile());
      if (!tokenizer.ok()) continue;
      ++loaded;
      (*tokenizer)->Encode("ab a <b>", true);
    }
  }
  EXPECT_GT(loaded, 0);
}

}  // namespace
}  // namespace tactus
