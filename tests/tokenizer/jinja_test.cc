#include "common/tokenizer/jinja/jinja.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/tree.h"

namespace tactus::jinja {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

const std::string kGoldens = SourcePath("tests/goldens/tokenizer/jinja.jsonl");

// The moment at which the clock of the goldens stands: Thursday, 5 March 2026, 14:07:09.
std::tm Moment() {
  std::tm moment{};
  moment.tm_year = 126;
  moment.tm_mon = 2;
  moment.tm_mday = 5;
  moment.tm_hour = 14;
  moment.tm_min = 7;
  moment.tm_sec = 9;
  moment.tm_wday = 4;
  moment.tm_yday = 63;
  return moment;
}

absl::StatusOr<std::string> Render(absl::string_view source, const std::string& names = "{}") {
  return RenderTemplate(source, names, Moment());
}

std::string Refusal(absl::string_view source) {
  const absl::StatusOr<std::string> text = Render(source);
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << source.substr(0, 100);
  return std::string(text.status().message());
}

TEST(JinjaTest, RendersAsTransformersDoes) {
  std::ifstream file(kGoldens);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const Json common = Json::parse(line);
  int templates = 0, cases = 0, refused = 0;
  for (; std::getline(file, line); ++templates) {
    const Json golden = Json::parse(line);
    const std::string source = golden["template"];
    for (const Json& one : golden["cases"]) {
      const std::string conversation = one["conversation"];
      Json names = common["special"];
      names["messages"] = common["conversations"][conversation];
      names["tools"] = conversation == "calls" ? common["tools"] : Json();
      names["documents"] = nullptr;
      names["add_generation_prompt"] = conversation != "calls";
      names.update(one["more"]);
      const absl::StatusOr<std::string> text = Render(source, names.dump());
      const std::string where = absl::StrCat(golden["name"].get<std::string>(), " of ", conversation);
      ++cases;
      if (one.contains("refused")) {
        ++refused;
        ASSERT_FALSE(text.ok()) << where << ": " << *text;
        EXPECT_THAT(text.status().message(), HasSubstr(one["refused"].get<std::string>())) << where;
        continue;
      }
      ASSERT_TRUE(text.ok()) << where << ": " << text.status();
      EXPECT_EQ(*text, one["text"].get<std::string>()) << where;
    }
  }
  EXPECT_GE(templates, 40);
  EXPECT_GE(cases, 150);
  EXPECT_GE(refused, 15);
}

TEST(JinjaTest, ErrorsNameTheLine) {
  EXPECT_THAT(Refusal("a\n{{ b.c }}"), HasSubstr("line 2: 'b' is undefined"));
  EXPECT_THAT(Refusal("{% if true %}\n\n{{ 1 + 'a' }}{% endif %}"), HasSubstr("line 3: no + between int and str"));
  EXPECT_THAT(Refusal("\n{% include 'x' %}"), HasSubstr("line 2: expected a statement that stands alone"));
  EXPECT_THAT(Refusal("{{ 'a' | urlize }}"), HasSubstr("no filter 'urlize'"));
  EXPECT_THAT(Refusal("{{ 1 is nothing }}"), HasSubstr("no test 'nothing'"));
  EXPECT_THAT(Refusal("{% for x in [1] %}{{ x }}"), HasSubstr("expected {% endfor %}, got the template's end"));
  EXPECT_THAT(Refusal("{{ (1 }}"), HasSubstr("unexpected '}'"));
  EXPECT_THAT(Refusal("{{ (1 2) }}"), HasSubstr("expected ')', got a number"));
  EXPECT_THAT(Refusal("{% break %}"), HasSubstr("belong in a loop"));
  EXPECT_THAT(Refusal("{{ raise_exception('no tools') }}"), HasSubstr("refuses these messages: no tools"));
  EXPECT_THAT(Refusal("{{ [].append(1) }}"), HasSubstr("must not change a list with append"));
}

TEST(JinjaTest, TellsWhetherTheDateIsPrinted) {
  EXPECT_TRUE((*Template::Parse("{{ strftime_now('%Y') }}"))->tells_time());
  EXPECT_FALSE((*Template::Parse("{{ now }}"))->tells_time());
}

TEST(JinjaTest, RefusesWhatNamesAreNot) {
  EXPECT_THAT(RenderTemplate("a", "[1]", Moment()).status().message(), HasSubstr("names: expected an object"));
  EXPECT_THAT(RenderTemplate("a", "{", Moment()).status().message(), HasSubstr("not valid JSON"));
  EXPECT_THAT(Render("{{ a }}", R"({"a": 18446744073709551615})").status().message(), HasSubstr("leaves 64 bits"));
}

std::string Nested(const std::string& open, const std::string& inside, const std::string& close, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += open;
  out += inside;
  for (int i = 0; i < times; ++i) out += close;
  return out;
}

TEST(JinjaTest, BoundsTheDepthOfATemplate) {
  for (const std::string& source :
       {"{{ " + Nested("(", "1", ")", 100000) + " }}", "{{ " + Nested("[", "", "]", 100000) + " }}",
        "{{ " + Nested("-", "1", "", 100000) + " }}", "{{ " + Nested("not ", "1", "", 50000) + " }}",
        "{{ " + Nested("{1:", "1", "}", 50000) + " }}", "{{ 1" + Nested(" + 1", "", "", 50000) + " }}",
        "{{ a" + Nested(".b", "", "", 50000) + " }}", "{{ a" + Nested("[1]", "", "", 50000) + " }}",
        "{{ a" + Nested("|e", "", "", 50000) + " }}", "{{ a" + Nested("()", "", "", 50000) + " }}",
        "{{ 1 " + Nested("if 1 else 1 ", "", "", 15000) + " }}", "{{ 1" + Nested(" or 1", "", "", 40000) + " }}",
        Nested("{% if 1 %}", "x", "{% endif %}", 10000), Nested("{% for i in [1] %}", "x", "{% endfor %}", 8000)}) {
    EXPECT_THAT(Refusal(source), testing::ContainsRegex("inside each other|in a row")) << source.substr(0, 30);
  }
  EXPECT_EQ(*Render("{{ " + Nested("(", "1", ")", 40) + " }}"), "1");
  EXPECT_EQ(*Render(Nested("{% if 1 %}", "x", "{% endif %}", 40)), "x");
  EXPECT_EQ(Render("{{ ''" + Nested(" ~ 'x'", "", "", 5000) + " }}")->size(), 5000u);
  EXPECT_THAT(Refusal(std::string(kMaxTemplateBytes + 1, 'x')), HasSubstr("expected at most 262144"));
}

TEST(JinjaTest, BoundsRecursion) {
  EXPECT_THAT(Refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("inside each other"));
  EXPECT_THAT(Refusal("{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}"),
              HasSubstr("inside each other"));
  EXPECT_THAT(Refusal("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"), HasSubstr("inside each other"));
  EXPECT_THAT(Refusal("{% macro f(x) %}{{ [1] | map(x) | list }}{{ f('upper') }}{% endmacro %}{{ f('upper') }}"),
              HasSubstr("inside each other"));
  EXPECT_THAT(Refusal("{% set n = namespace(v=[]) %}{% for i in range(1000) %}{% set n.v = [n.v] %}{% endfor %}"),
              HasSubstr("inside each other"));
  EXPECT_THAT(Refusal("{% set n = namespace(v={}) %}{% for i in range(1000) %}{% set n.v = {'a': n.v} %}{% endfor %}"),
              HasSubstr("inside each other"));
  EXPECT_EQ(*Render("{% set n = namespace() %}{% set n.n = n %}{{ n.n.n is defined }}"), "True");  // a circle, freed
  EXPECT_EQ(
      Render("{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(30) }}")->substr(0, 4),
      "3029");
}

TEST(JinjaTest, BoundsWorkAndMemory) {
  const char* kLimit = "more work than the limit";
  for (const char* source : {
           "{{ 'x' * 10000000000 }}",
           "{{ [1] * 10000000000 }}",
           "{{ 'x' | center(10000000000) }}",
           "{{ 'x'.ljust(10000000000) }}",
           "{{ '0'.zfill(9000000000000000000) }}",
           "{{ 'x\\ny' | indent(10000000000) }}",
           "{{ [1] | batch(10000000000, 2) | list }}",
           "{{ range(100000) | slice(1000000000) | list }}",
           "{% set n = namespace(s='ab') %}{% for i in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}",
           "{% set n = namespace(s='ab') %}{% for i in range(100) %}{% set n.s = n.s.replace('a', n.s) %}{% endfor %}",
           "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
           "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s | "
           "tojson }}",
           "{% set n = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, "
           "n.t] %}"
           "{% endfor %}{{ n.s == n.t }}",
           "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
           "{% for a in range(100000) %}{{ range(100000) | sort | sum }}{% endfor %}",
           "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s.count('ab') }}{% endfor %}",
           "{% set s = 'a' * 1000000 %}{{ s.rfind('b' + 'a' * 500000) }}",
           "{{ (range(100000) | list) | unique | list | length }}",
       }) {
    EXPECT_THAT(Refusal(source), HasSubstr(kLimit)) << source;
  }
  // Two texts in which a simple search would take the product of their lengths.
  EXPECT_EQ(*Render("{% set s = 'a' * 2000000 %}{{ ('a' * 1000000 + 'b') in s }}"), "False");
  EXPECT_THAT(Refusal("{{ range(100001) }}"), HasSubstr("more than 100000 numbers"));
  EXPECT_THAT(Refusal("{{ '%*d' % (100000000, 1) }}"), HasSubstr("too large"));
  EXPECT_THAT(Refusal("{{ '{:999999999}'.format(1) }}"), HasSubstr("too large"));
  EXPECT_THAT(Refusal("{{ {} | tojson(indent=100000) }}"), HasSubstr("at most 1000"));
  EXPECT_THAT(Refusal("{{ strftime_now('%c' * 1000) }}"), HasSubstr("at most 1000 bytes"));
}

TEST(JinjaTest, BoundsNumbers) {
  for (const char* source :
       {"{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 4611686018427387904 * 2 }}",
        "{{ 10 ** 19 }}", "{{ (-9223372036854775807 - 1) // -1 }}"}) {
    EXPECT_THAT(Refusal(source), HasSubstr("leaves 64 bits")) << source;
  }
  EXPECT_EQ(*Render("{{ (-9223372036854775807 - 1) % -1 }}"), "0");
  EXPECT_EQ(*Render("{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}"), "a");
  EXPECT_EQ(*Render("{{ 'abc'[::-9223372036854775807] }}"), "c");
  EXPECT_THAT(Refusal("{{ 99999999999999999999 }}"), HasSubstr("cannot read the number"));
  EXPECT_THAT(Refusal("{{ 1e400 | int(5) }}"), HasSubstr("leaves 64 bits"));
  EXPECT_EQ(*Render("{{ 1e400 }}{{ ('nan' | float) | int(6) }}{{ 'inf' | int(7) }}"), "inf67");
}

TEST(JinjaTest, TakesAnyBytes) {
  EXPECT_EQ(*Render(absl::string_view("a\0b{{ 'c\0' }}", 13)), std::string("a\0bc\0", 5));
  EXPECT_EQ(*Render("\xff{{ '\xc3' }}"), "\uFFFD\uFFFD");
  for (const char* source : {"{{",
                             "{%",
                             "{#",
                             "{{ '",
                             "{{ \"\\",
                             "{% raw %}",
                             "{{ 1.",
                             "{{ 0x }}",
                             "{{ a[ }}",
                             "{{ a[:::] }}",
                             "{{ '\\x4' }}",
                             "{{ '\\ud800' }}",
                             "{% set %}",
                             "{% set a.b.c = 1 %}",
                             "{% for %}",
                             "{{ }}",
                             "{% %}",
                             "{{ a b }}",
                             "{% macro f(a=1, b) %}{% endmacro %}",
                             "{% call 1 %}{% endcall %}",
                             "{{ f(a=1, 2) }}",
                             "{{ a is b is c }}",
                             "{% endif %}",
                             "{{ ) }}",
                             "{{ $ }}",
                             "{% set true = 1 %}"}) {
    EXPECT_FALSE(Render(source).ok()) << source;
  }
}

}  // namespace
}  // namespace tactus::jinja
