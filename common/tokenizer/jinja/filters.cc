// The filters of single values; those of sequences stand in sequence_filters.cc.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/characters.h"
#include "common/tokenizer/jinja/runtime.h"
#include "common/tokenizer/jinja/text_operations.h"

namespace tactus::jinja {
namespace {

using Result = absl::StatusOr<Value>;

template <std::string (*convert)(absl::string_view)>
Result Convert(Runtime& runtime, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("a filter", arguments, {}).status());
  ASSIGN_OR_RETURN(const std::string text, runtime.Text(value));
  return Value(convert(text));
}

std::string Same(absl::string_view text) { return std::string(text); }

// Words begin behind these too; not a letter's neighbours alone, as for str.title().
std::string TitleOfWords(absl::string_view text) {
  std::string out;
  size_t start = 0;
  const auto take = [&](size_t end) {
    const absl::string_view word = text.substr(start, end - start);
    const size_t first = word.empty() ? 0 : ScalarOffset(word, 1);
    absl::StrAppend(&out, Upper(word.substr(0, first)), Lower(word.substr(first)));
  };
  for (size_t at = 0; at < text.size();) {
    const absl::string_view rest = text.substr(at);
    const absl::string_view scalar = rest.substr(0, ScalarOffset(rest, 1));
    const bool between =
        absl::string_view("-({[<").find(scalar) != absl::string_view::npos || IsPythonSpace(CodePointOf(scalar));
    if (between) {
      take(at);
      absl::StrAppend(&out, scalar);
      start = at + scalar.size();
    }
    at += scalar.size();
  }
  take(text.size());
  return out;
}

std::string Escape(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}});
}

std::string UrlQuote(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("_.-~/", absl::string_view(&c, 1))) {
      out += c;
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<uint32_t>(static_cast<uint8_t>(c)));
    }
  }
  return out;
}

Result Trim(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("trim", arguments, {"chars"}));
  ASSIGN_OR_RETURN(const std::string text, runtime.Text(value));
  if (!bound[0].has_value() || bound[0]->is_none()) return Value(std::string(StripSpace(text, true, true)));
  ASSIGN_OR_RETURN(const std::string characters, TextArgument(*bound[0]));
  RETURN_IF_ERROR(runtime.Charge((1 + text.size()) * characters.size()));
  return Value(std::string(StripCharacters(text, characters, true, true)));
}

Result Center(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("center", arguments, {"width"}));
  ASSIGN_OR_RETURN(const int64_t width, WholeOr(bound[0], 80));
  ASSIGN_OR_RETURN(const std::string text, runtime.Text(value));
  ASSIGN_OR_RETURN(std::string out, PadText(runtime, text, width, " ", Side::kBoth));
  return Value(std::move(out));
}

Result Replace(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("replace", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const int64_t count, WholeOr(bound[2], -1));
  ASSIGN_OR_RETURN(const std::string text, runtime.Text(value));
  ASSIGN_OR_RETURN(const std::string from, runtime.Text(*bound[0]));
  ASSIGN_OR_RETURN(const std::string to, runtime.Text(*bound[1]));
  ASSIGN_OR_RETURN(std::string out, ReplaceText(runtime, text, from, to, count));
  return Value(std::move(out));
}

Result Indent(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("indent", arguments, {"width", "first", "blank"}));
  ASSIGN_OR_RETURN(std::string text, TextArgument(value));
  std::string indention;
  if (bound[0].has_value() && bound[0]->text() != nullptr) {
    indention = *bound[0]->text();
  } else {
    ASSIGN_OR_RETURN(const int64_t width, WholeOr(bound[0], 4));
    ASSIGN_OR_RETURN(indention, PadText(runtime, "", width, " ", Side::kLeft));
  }
  const bool first = bound[1].has_value() && IsTrue(*bound[1]), blank = bound[2].has_value() && IsTrue(*bound[2]);
  text += '\n';  // as Jinja has it: a last newline is a line of its own
  std::string out;
  if (first) out = indention;
  bool first_line = true;
  for (const absl::string_view line : SplitLines(text, false)) {
    RETURN_IF_ERROR(runtime.Charge(indention.size() + 1));
    if (!std::exchange(first_line, false)) absl::StrAppend(&out, "\n", blank || !line.empty() ? indention : "");
    absl::StrAppend(&out, line);
  }
  return Value(std::move(out));
}

Result Truncate(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("truncate", arguments, {"length", "killwords", "end", "leeway"}));
  ASSIGN_OR_RETURN(const std::string text, TextArgument(value));
  ASSIGN_OR_RETURN(const int64_t length, WholeOr(bound[0], 255));
  ASSIGN_OR_RETURN(const int64_t leeway, WholeOr(bound[3], 5));
  ASSIGN_OR_RETURN(const std::string end, TextArgument(bound[2].value_or(Value("..."))));
  const int64_t end_size = static_cast<int64_t>(CountScalars(end));
  if (length < end_size || leeway < 0) return TypeError("truncate: the length is shorter than the end");
  const int64_t size = static_cast<int64_t>(CountScalars(text));
  RETURN_IF_ERROR(runtime.Charge(text.size()));
  if (size <= length || size - length <= leeway) return Value(text);
  std::string kept = text.substr(0, ScalarOffset(text, static_cast<size_t>(length - end_size)));
  if (!bound[1].has_value() || !IsTrue(*bound[1])) kept = kept.substr(0, kept.rfind(' '));
  return Value(kept + end);
}

Result WordCount(Runtime& runtime, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("wordcount", arguments, {}).status());
  ASSIGN_OR_RETURN(const std::string text, runtime.Text(value));
  int64_t words = 0;
  bool inside = false;
  for (const absl::string_view scalar : Scalars(text)) {
    const uint32_t c = CodePointOf(scalar);
    const bool word = IsLetter(c) || IsNumberSign(c) || c == '_';
    words += word && !inside;
    inside = word;
  }
  return Value(words);
}

Result Format(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const std::string format, runtime.Text(value));
  if (!arguments.named.empty() && !arguments.positional.empty()) {
    return TypeError("format takes arguments by position or by name, not both");
  }
  Value values;
  if (arguments.named.empty()) {
    ASSIGN_OR_RETURN(values, runtime.NewList(arguments.positional, ListForm::kTuple));
  } else {
    std::vector<std::pair<Value, Value>> named;
    for (const auto& [name, argument] : arguments.named) named.emplace_back(Value(name), argument);
    ASSIGN_OR_RETURN(values, runtime.NewDict(std::move(named)));
  }
  ASSIGN_OR_RETURN(std::string out, PercentFormat(runtime, format, values));
  return Value(std::move(out));
}

Result Default(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("default", arguments, {"default_value", "boolean"}));
  const bool falsy = bound[1].has_value() && IsTrue(*bound[1]) && !IsTrue(value);
  return value.is_undefined() || falsy ? bound[0].value_or(Value("")) : value;
}

Result Length(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("length", arguments, {}).status());
  if (value.is_undefined()) return Value(0);
  if (const std::string* text = value.text()) return Value(static_cast<int64_t>(CountScalars(*text)));
  if (value.list() != nullptr || value.dict() != nullptr) return Value(static_cast<int64_t>(value.size()));
  return CannotUse(value, "where a length is asked for");
}

// float() of a text. False: it is none.
bool ReadReal(absl::string_view text, double& number) {
  const std::string plain = absl::StrReplaceAll(StripSpace(text, true, true), {{"_", ""}});
  return !absl::StrContains(plain, "x") && !absl::StrContains(plain, "X") && absl::SimpleAtod(plain, &number);
}

// int() of a real: what is no number at all gives the fallback.
Result TruncatedReal(double number, const Value& fallback) {
  if (std::isnan(number)) return fallback;
  if (!(std::abs(number) < 9.2e18)) return TypeError("int: the number leaves 64 bits");
  return Value(static_cast<int64_t>(number));
}

Result ToInt(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("int", arguments, {"default", "base"}));
  const Value fallback = bound[0].value_or(Value(0));
  ASSIGN_OR_RETURN(const int64_t base, WholeOr(bound[1], 10));
  if (value.whole()) return Value(*value.whole());
  if (value.real() != nullptr) return TruncatedReal(*value.real(), fallback);
  if (value.text() == nullptr) return fallback;
  std::string digits = absl::StrReplaceAll(StripSpace(*value.text(), true, true), {{"_", ""}});
  const size_t sign = !digits.empty() && (digits[0] == '-' || digits[0] == '+') ? 1 : 0;
  const char letter = digits.size() > sign + 1 && digits[sign] == '0' ? absl::ascii_tolower(digits[sign + 1]) : ' ';
  if ((base == 16 && letter == 'x') || (base == 8 && letter == 'o') || (base == 2 && letter == 'b')) {
    digits.erase(sign, 2);
  }
  if (sign == 1 && digits[0] == '+') digits.erase(0, 1);
  int64_t number = 0;
  const char* end = digits.data() + digits.size();
  if (base >= 2 && base <= 36) {
    const auto read = std::from_chars(digits.data(), end, number, static_cast<int>(base));
    if (!digits.empty() && read.ptr == end && read.ec == std::errc()) return Value(number);
  }
  double real = 0;
  if (!ReadReal(*value.text(), real) || std::isinf(real)) return fallback;
  return TruncatedReal(real, fallback);
}

Result ToReal(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("float", arguments, {"default"}));
  if (value.number()) return Value(*value.number());
  double real = 0;
  if (value.text() != nullptr && ReadReal(*value.text(), real)) return Value(real);
  return bound[0].value_or(Value(0.0));
}

Result Abs(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("abs", arguments, {}).status());
  if (value.real() != nullptr) return Value(std::abs(*value.real()));
  if (!value.whole() || *value.whole() == std::numeric_limits<int64_t>::min()) return CannotUse(value, "with abs");
  return Value(std::abs(*value.whole()));
}

Result Round(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("round", arguments, {"precision", "method"}));
  ASSIGN_OR_RETURN(const int64_t precision, WholeOr(bound[0], 0));
  ASSIGN_OR_RETURN(const std::string method, TextArgument(bound[1].value_or(Value("common"))));
  if (!value.number()) return CannotUse(value, "with round");
  if (precision < 0 || precision > 100) return TypeError("round: expected a precision from 0 to 100");
  const double number = *value.number();
  if (method == "common") {
    if (value.whole() || !std::isfinite(number)) return value;
    double rounded = 0;
    // As printed, a number is rounded exactly, and halves to even: as Python does.
    if (!absl::SimpleAtod(absl::StrFormat("%.*f", static_cast<int>(precision), number), &rounded)) return value;
    return Value(rounded);
  }
  if (method != "ceil" && method != "floor") return TypeError("round: expected the method common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  return Value((method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale);
}

Result AttributeOf(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("attr", arguments, {"name"}, 1));
  ASSIGN_OR_RETURN(const std::string name, TextArgument(*bound[0]));
  // The attribute alone: a dictionary's member is none.
  if (value.dict() != nullptr && FindDictMethod(name) == nullptr) return Value();
  return runtime.Attribute(value, name);
}

// As `transformers` replaces Jinja's own: json.dumps, nothing escaped for HTML.
Result Json(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ascii = bound[0].has_value() && IsTrue(*bound[0]);
  style.sort_keys = bound[3].has_value() && IsTrue(*bound[3]);
  if (bound[1].has_value() && !bound[1]->is_none()) {
    if (bound[1]->text() != nullptr) {
      style.indent = *bound[1]->text();
    } else {
      ASSIGN_OR_RETURN(const int64_t width, WholeOr(bound[1], 0));
      if (width > 1000) return TypeError("tojson: expected an indent of at most 1000");
      style.indent = std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
    style.item_separator.assign(1, ',');
  }
  if (bound[2].has_value() && !bound[2]->is_none()) {
    ASSIGN_OR_RETURN(const std::vector<Value> separators, runtime.Iterate(*bound[2]));
    if (separators.size() != 2) return TypeError("tojson: expected two separators");
    ASSIGN_OR_RETURN(style.item_separator, TextArgument(separators[0]));
    ASSIGN_OR_RETURN(style.key_separator, TextArgument(separators[1]));
  }
  ASSIGN_OR_RETURN(std::string text, ToJson(value, style, runtime.budget()));
  return Value(std::move(text));
}

constexpr NamedBuiltin kFilters[] = {
    {"abs", Abs},
    {"attr", AttributeOf},
    {"capitalize", Convert<Capitalize>},
    {"center", Center},
    {"count", Length},
    {"d", Default},
    {"default", Default},
    {"e", Convert<Escape>},
    {"escape", Convert<Escape>},
    {"float", ToReal},
    {"forceescape", Convert<Escape>},
    {"format", Format},
    {"indent", Indent},
    {"int", ToInt},
    {"length", Length},
    {"lower", Convert<Lower>},
    {"replace", Replace},
    {"round", Round},
    {"safe", Convert<Same>},
    {"string", Convert<Same>},
    {"title", Convert<TitleOfWords>},
    {"tojson", Json},
    {"trim", Trim},
    {"truncate", Truncate},
    {"upper", Convert<Upper>},
    {"urlencode", Convert<UrlQuote>},
    {"wordcount", WordCount},
};

}  // namespace

Builtin FindFilter(absl::string_view name) { return FindIn(kFilters, name); }

}  // namespace tactus::jinja
