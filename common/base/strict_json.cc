#include "common/base/strict_json.h"

#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxShownKey = 100;

// What Python writes for numbers that are not finite, and a string as long that no text holds: positions in the text
// stay what they are.
struct NonFinite {
  absl::string_view word, quoted;
  double value;
};
constexpr NonFinite kNonFinite[] = {{"-Infinity", "\"\x7f------\"", -std::numeric_limits<double>::infinity()},
                                    {"Infinity", "\"\x7f+++++\"", std::numeric_limits<double>::infinity()},
                                    {"NaN", "\"\x7f\"", std::numeric_limits<double>::quiet_NaN()}};

// The text with each of those words outside strings in quotes, but none that stands as a key; "" when there is none.
std::string QuoteNonFinite(absl::string_view text) {
  std::string quoted;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (in_string && text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      in_string = !in_string;
    } else if (!in_string) {
      for (const NonFinite& one : kNonFinite) {
        if (!absl::StartsWith(text.substr(i), one.word)) continue;
        const absl::string_view rest = absl::StripLeadingAsciiWhitespace(text.substr(i + one.word.size()));
        if (absl::StartsWith(rest, ":")) break;
        if (quoted.empty()) quoted = std::string(text);
        quoted.replace(i, one.word.size(), one.quoted.data(), one.quoted.size());
        i += one.word.size() - 1;
        break;
      }
    }
  }
  return quoted;
}

// Makes numbers of those strings. As deep as the document.
template <typename Document>
void UnquoteNonFinite(Document& value) {
  if (value.is_structured()) {
    for (Document& element : value) UnquoteNonFinite(element);
  } else if (value.is_string()) {
    const std::string& text = value.template get_ref<const std::string&>();
    for (const NonFinite& one : kNonFinite) {
      if (text != one.quoted.substr(1, one.quoted.size() - 2)) continue;
      value = one.value;
      break;
    }
  }
}

// Walks the text once without building anything; the first broken rule ends the walk and stays in status().
class LimitChecker : public nlohmann::json_sax<Json> {
 public:
  LimitChecker(absl::string_view text, absl::string_view source, const JsonLimits& limits)
      : text_(text), source_(source), limits_(limits) {}

  bool null() override { return Value(); }
  bool boolean(bool) override { return Value(); }
  bool number_integer(number_integer_t) override { return Value(); }
  bool number_unsigned(number_unsigned_t) override { return Value(); }
  bool number_float(number_float_t, const string_t&) override { return Value(); }
  bool string(string_t& text) override { return StringSize(text) && Value(); }
  bool binary(binary_t&) override { return Value(); }
  bool start_object(size_t) override { return Open(); }
  bool start_array(size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& text) override {
    if (!StringSize(text)) return false;
    if (keys_.back().insert(text).second) return true;
    return Fail(absl::InvalidArgumentError(
        absl::StrCat(source_, ": key \"", text.substr(0, kMaxShownKey), "\" stands twice in one object")));
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    const absl::string_view before = text_.substr(0, position);
    const size_t line_start = before.rfind('\n') == before.npos ? 0 : before.rfind('\n') + 1;
    not_json_ = true;
    const std::string line = line_start == 0 ? "" : absl::StrCat("line ", 1 + std::ranges::count(before, '\n'), ", ");
    return Fail(absl::InvalidArgumentError(
        absl::StrCat(source_, ": not valid JSON at ", line, "byte ", position - line_start)));
  }

  const absl::Status& status() const { return status_; }
  bool not_json() const { return not_json_; }

 private:
  bool Fail(absl::Status status) {
    status_ = std::move(status);
    return false;
  }
  bool Exceeded(absl::string_view what, size_t limit) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(source_, ": more than ", limit, " ", what)));
  }
  bool StringSize(const std::string& text) {
    return text.size() <= limits_.max_string || Exceeded("bytes in one string", limits_.max_string);
  }
  bool Value() { return ++values_ <= limits_.max_values || Exceeded("values", limits_.max_values); }
  bool Open() {
    keys_.emplace_back();
    if (keys_.size() > static_cast<size_t>(limits_.max_depth)) {
      return Exceeded("nested levels", static_cast<size_t>(limits_.max_depth));
    }
    return Value();
  }
  bool Close() {
    keys_.pop_back();
    return true;
  }

  absl::string_view text_, source_;
  const JsonLimits& limits_;
  std::vector<std::set<std::string>> keys_;  // per open level; an array's stays empty
  size_t values_ = 0;
  absl::Status status_;
  bool not_json_ = false;
};

template <typename Document>
absl::StatusOr<Document> Parse(absl::string_view text, absl::string_view source, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": ", text.size(), " bytes of JSON, more than the limit of ", limits.max_bytes));
  }
  text = WithoutByteOrderMark(text);
  LimitChecker checker(text, source, limits);
  const bool good = Json::sax_parse(text.begin(), text.end(), &checker);
  if (checker.not_json()) {
    if (const std::string quoted = QuoteNonFinite(text); !quoted.empty()) {
      ASSIGN_OR_RETURN(Document document, Parse<Document>(quoted, source, limits));
      UnquoteNonFinite(document);
      return document;
    }
  }
  if (!checker.status().ok()) return checker.status();
  Document document = good ? Document::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false)
                           : Document(Document::value_t::discarded);
  if (document.is_discarded()) return absl::InvalidArgumentError(absl::StrCat(source, ": not valid JSON"));
  return document;
}

}  // namespace

absl::string_view WithoutByteOrderMark(absl::string_view text) { return absl::StripPrefix(text, "\xEF\xBB\xBF"); }

absl::StatusOr<Json> ParseJson(absl::string_view text, absl::string_view source, const JsonLimits& limits) {
  return Parse<Json>(text, source, limits);
}

absl::StatusOr<nlohmann::ordered_json> ParseStrictJson(absl::string_view text, absl::string_view source,
                                                       const JsonLimits& limits) {
  return Parse<nlohmann::ordered_json>(text, source, limits);
}

}  // namespace tactus
