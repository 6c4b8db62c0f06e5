// 'a %s' % values and 'a {}'.format(values), with the conversions of whole numbers, reals and texts.
#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/characters.h"
#include "common/tokenizer/jinja/runtime.h"
#include "common/tokenizer/jinja/text_operations.h"
#include "common/tokenizer/utf8.h"

namespace tactus::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxPrecision = 500;

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ =, 0 = by the type
  char sign = '-';
  bool alternate = false;
  bool comma = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;  // 0 = the value's own
};

// Digits at the front of `text`, taken off; -1: none.
int64_t TakeNumber(absl::string_view& text) {
  size_t end = 0;
  while (end < text.size() && end < 9 && absl::ascii_isdigit(text[end])) ++end;
  int64_t number = -1;
  if (end > 0 && !absl::SimpleAtoi(text.substr(0, end), &number)) number = -1;
  text.remove_prefix(end);
  return number;
}

std::string Grouped(absl::string_view digits) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string InBase(uint64_t number, char type, bool alternate) {
  if (type == 'x') return absl::StrCat(alternate ? "0x" : "", absl::StrFormat("%x", number));
  if (type == 'X') return absl::StrCat(alternate ? "0X" : "", absl::StrFormat("%X", number));
  if (type == 'o') return absl::StrCat(alternate ? "0o" : "", absl::StrFormat("%o", number));
  if (type != 'b') return absl::StrCat(number);
  std::string bits;
  do {
    bits.insert(bits.begin(), static_cast<char>('0' + number % 2));
    number /= 2;
  } while (number > 0);
  return absl::StrCat(alternate ? "0b" : "", bits);
}

// The digits of a positive number.
std::string RealDigits(double number, char type, int64_t given_precision) {
  const int precision = static_cast<int>(given_precision < 0 ? 6 : given_precision);
  switch (type) {
    case 'f':
    case 'F':
      return absl::StrFormat("%.*f", precision, number);
    case 'e':
      return absl::StrFormat("%.*e", precision, number);
    case 'E':
      return absl::StrFormat("%.*E", precision, number);
    case 'G':
      return absl::StrFormat("%.*G", precision, number);
    case '%':
      return absl::StrFormat("%.*f%%", precision, number * 100);
    case 'g':
      return absl::StrFormat("%.*g", precision, number);
    default:
      return given_precision < 0 ? RealText(number) : absl::StrFormat("%.*g", precision, number);
  }
}

absl::StatusOr<std::string> Padded(Runtime& runtime, absl::string_view sign, absl::string_view body, const Spec& spec,
                                   char default_align) {
  const char align = spec.align != 0 ? spec.align : default_align;
  if (align == '=') {
    const int64_t left = spec.width - static_cast<int64_t>(sign.size());
    ASSIGN_OR_RETURN(const std::string padded, PadText(runtime, body, left, spec.fill, Side::kRight));
    return absl::StrCat(sign, padded);
  }
  const std::string whole = absl::StrCat(sign, body);
  if (align != '^') {
    return PadText(runtime, whole, spec.width, spec.fill, align == '<' ? Side::kLeft : Side::kRight);
  }
  const int64_t missing = std::max<int64_t>(spec.width - static_cast<int64_t>(CountScalars(whole)), 0);
  ASSIGN_OR_RETURN(const std::string left, PadText(runtime, "", missing / 2, spec.fill, Side::kLeft));
  ASSIGN_OR_RETURN(const std::string right, PadText(runtime, "", missing - missing / 2, spec.fill, Side::kLeft));
  return absl::StrCat(left, whole, right);
}

absl::StatusOr<std::string> FormatText(Runtime& runtime, absl::string_view text, const Spec& spec) {
  if (spec.precision >= 0) text = text.substr(0, ScalarOffset(text, static_cast<size_t>(spec.precision)));
  RETURN_IF_ERROR(runtime.Charge(text.size()));
  return Padded(runtime, "", text, spec, '<');
}

absl::StatusOr<std::string> FormatNumber(Runtime& runtime, const Value& value, const Spec& spec) {
  const absl::string_view real_types = "fFeEgG%";
  std::string digits;
  bool negative = false;
  if (value.whole() && (spec.type == 0 || real_types.find(spec.type) == absl::string_view::npos)) {
    const int64_t number = *value.whole();
    negative = number < 0;
    digits =
        InBase(negative ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number), spec.type, spec.alternate);
  } else {
    const double number = *value.number();
    negative = std::signbit(number) && !std::isnan(number);
    digits = RealDigits(std::abs(number), spec.type, spec.precision);
  }
  if (spec.comma) {
    const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
    digits = Grouped(digits.substr(0, whole)) + digits.substr(whole);
  }
  const std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  return Padded(runtime, sign, digits, spec, '>');
}

absl::StatusOr<std::string> FormatValue(Runtime& runtime, const Value& value, const Spec& spec) {
  const bool numeric = value.number().has_value() && (value.boolean() == nullptr || spec.type != 0);
  if (numeric && spec.type != 's') {
    if (spec.type == 'd' && value.real() != nullptr) return TypeError("format: expected a whole number for d");
    return FormatNumber(runtime, value, spec);
  }
  if (spec.type != 0 && spec.type != 's') return CannotUse(value, "as a number of a format");
  ASSIGN_OR_RETURN(const std::string text, runtime.Text(value));
  return FormatText(runtime, text, spec);
}

absl::Status CheckSpec(const Spec& spec) {
  if (spec.width > kMaxWidth || spec.precision > kMaxPrecision) return TypeError("format: the width is too large");
  return absl::OkStatus();
}

// What stands behind the colon of {:…}.
absl::StatusOr<Spec> ReadBraceSpec(absl::string_view text) {
  Spec spec;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  const size_t first = text.empty() ? 0 : ScalarOffset(text, 1);
  if (text.size() > first && is_align(text[first])) {
    spec.fill = std::string(text.substr(0, first));
    spec.align = text[first];
    text.remove_prefix(first + 1);
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  if (!text.empty() && (text[0] == '+' || text[0] == '-' || text[0] == ' ')) {
    spec.sign = text[0];
    text.remove_prefix(1);
  }
  spec.alternate = absl::ConsumePrefix(&text, "#");
  if (absl::ConsumePrefix(&text, "0") && spec.align == 0) {
    spec.fill.assign(1, '0');
    spec.align = '=';
  }
  spec.width = std::max<int64_t>(TakeNumber(text), 0);
  spec.comma = absl::ConsumePrefix(&text, ",");
  if (absl::ConsumePrefix(&text, ".")) {
    spec.precision = TakeNumber(text);
    if (spec.precision < 0) return TypeError("format: a precision is missing");
  }
  if (text.size() > 1 || (text.size() == 1 && absl::string_view("sdxXobfFeEgG%").find(text[0]) == text.npos)) {
    return TypeError(absl::StrCat("format: cannot read '", text.substr(0, 40), "'"));
  }
  if (!text.empty()) spec.type = text[0];
  RETURN_IF_ERROR(CheckSpec(spec));
  return spec;
}

// The value that {name.attribute[key]} stands for.
absl::StatusOr<Value> FieldValue(Runtime& runtime, absl::string_view field, const Arguments& values, int64_t& next) {
  const size_t name_end = std::min(field.find_first_of(".["), field.size());
  const absl::string_view name = field.substr(0, name_end);
  field.remove_prefix(name_end);
  Value value;
  int64_t index = -1;
  if (name.empty() || absl::SimpleAtoi(name, &index)) {
    if (name.empty()) index = next++;
    if (index < 0 || index >= static_cast<int64_t>(values.positional.size())) {
      return TypeError("format: there are fewer values than fields");
    }
    value = values.positional[static_cast<size_t>(index)];
  } else {
    const auto found =
        std::find_if(values.named.begin(), values.named.end(), [&](const auto& v) { return v.first == name; });
    if (found == values.named.end())
      return TypeError(absl::StrCat("format: there is no value '", name.substr(0, 100), "'"));
    value = found->second;
  }
  while (!field.empty()) {
    const bool item = field[0] == '[';
    field.remove_prefix(1);
    const size_t end = item ? field.find(']') : std::min(field.find_first_of(".["), field.size());
    if (end == absl::string_view::npos) return TypeError("format: a ] is missing");
    const absl::string_view key = field.substr(0, end);
    if (item) {
      const Value by = absl::SimpleAtoi(key, &index) ? Value(index) : Value(std::string(key));
      ASSIGN_OR_RETURN(value, runtime.Item(value, by));
    } else {
      ASSIGN_OR_RETURN(value, runtime.Attribute(value, key));
    }
    field.remove_prefix(std::min(field.size(), end + (item ? 1 : 0)));
  }
  return value;
}

// The flags, width and precision of %…, up to its type. `next` hands out values for *.
template <class Next>
absl::StatusOr<Spec> ReadPercentSpec(absl::string_view& text, const Next& next) {
  Spec spec;
  for (; !text.empty() && absl::StrContains("-+ 0#", text.substr(0, 1)); text.remove_prefix(1)) {
    if (text[0] == '-') spec.align = '<';
    if (text[0] == '+' || (text[0] == ' ' && spec.sign == '-')) spec.sign = text[0];
    if (text[0] == '#') spec.alternate = true;
    if (text[0] == '0' && spec.align == 0) {
      spec.align = '=';
      spec.fill.assign(1, '0');
    }
  }
  if (spec.align == '<') spec.fill.assign(1, ' ');
  if (spec.align == 0) spec.align = '>';
  const auto number = [&](int64_t if_none) -> absl::StatusOr<int64_t> {
    if (!absl::ConsumePrefix(&text, "*")) return std::max(TakeNumber(text), if_none);
    ASSIGN_OR_RETURN(const Value value, next());
    return WholeOr(value, 0);
  };
  ASSIGN_OR_RETURN(spec.width, number(0));
  if (spec.width < 0) {
    spec.width = -std::max(spec.width, -kMaxWidth - 1);
    spec.align = '<';
  }
  if (absl::ConsumePrefix(&text, ".")) {
    ASSIGN_OR_RETURN(spec.precision, number(0));
  }
  while (!text.empty() && absl::StrContains("hlL", text.substr(0, 1))) text.remove_prefix(1);
  RETURN_IF_ERROR(CheckSpec(spec));
  return spec;
}

absl::StatusOr<std::string> FormatPercent(Runtime& runtime, const Value& value, char type, Spec spec) {
  if (type == 's' || type == 'r' || type == 'a') {
    std::string text;
    RETURN_IF_ERROR(type == 's' ? AppendText(value, runtime.budget(), text)
                                : AppendRepr(value, runtime.budget(), text));
    if (spec.align == '=') spec.align = '>';
    spec.fill.assign(1, ' ');
    return FormatText(runtime, text, spec);
  }
  if (type == 'c') {
    std::string text = value.text() != nullptr ? *value.text() : "";
    if (value.whole() && *value.whole() >= 0 && *value.whole() < 0xD800) {
      AppendUtf8(static_cast<uint32_t>(*value.whole()), text);
    }
    if (CountScalars(text) != 1) return TypeError("format: expected a character for %c");
    return FormatText(runtime, text, spec);
  }
  if (!absl::StrContains("diuxXofFeEgG", absl::string_view(&type, 1))) {
    return TypeError(absl::StrCat("format: cannot read '%", absl::string_view(&type, 1), "'"));
  }
  if (!value.number()) return CannotUse(value, "as a number of a format");
  const bool decimal = type == 'd' || type == 'i' || type == 'u';
  Value number = value;
  if (decimal && value.real() != nullptr) {
    if (!(std::abs(*value.real()) < 9.2e18)) return TypeError("format: the number is too large");
    number = Value(static_cast<int64_t>(*value.real()));
  }
  if (!decimal && absl::StrContains("xXo", absl::string_view(&type, 1)) && !value.whole()) {
    return CannotUse(value, "as a whole number of a format");
  }
  spec.type = decimal ? 'd' : type;
  return FormatNumber(runtime, number, spec);
}

}  // namespace

absl::StatusOr<std::string> PercentFormat(Runtime& runtime, absl::string_view format, const Value& values) {
  const bool tuple = values.list() != nullptr && values.list()->form == ListForm::kTuple;
  size_t used = 0;
  const auto next = [&]() -> absl::StatusOr<Value> {
    const size_t count = tuple ? values.list()->items.size() : 1;
    if (used == count) return TypeError("format: there are fewer values than fields");
    return tuple ? values.list()->items[used++] : (++used, values);
  };
  std::string out;
  bool by_name = false;
  while (!format.empty()) {
    const size_t percent = std::min(format.find('%'), format.size());
    absl::StrAppend(&out, format.substr(0, percent));
    format.remove_prefix(percent);
    if (!absl::ConsumePrefix(&format, "%")) break;
    std::optional<Value> named;
    if (absl::ConsumePrefix(&format, "(")) {
      const size_t end = format.find(')');
      if (end == absl::string_view::npos || values.dict() == nullptr) return TypeError("format: cannot read '%('");
      ASSIGN_OR_RETURN(const Value* const found,
                       Find(*values.dict(), Value(std::string(format.substr(0, end))), runtime.budget()));
      if (found == nullptr) return TypeError("format: there is no value of that name");
      named = *found;
      by_name = true;
      format.remove_prefix(end + 1);
    }
    ASSIGN_OR_RETURN(const Spec spec, ReadPercentSpec(format, next));
    if (format.empty()) return TypeError("format: a field is incomplete");
    const char type = format[0];
    format.remove_prefix(1);
    if (type == '%') {
      out += '%';
      continue;
    }
    if (!named) {
      ASSIGN_OR_RETURN(named, next());
    }
    ASSIGN_OR_RETURN(const std::string text, FormatPercent(runtime, *named, type, spec));
    out += text;
  }
  const bool leftover = tuple ? used < values.list()->items.size() : used == 0 && values.dict() == nullptr;
  if (leftover && !by_name) return TypeError("format: there are more values than fields");
  return out;
}

absl::StatusOr<std::string> BraceFormat(Runtime& runtime, absl::string_view format, const Arguments& values) {
  std::string out;
  int64_t next = 0;
  while (!format.empty()) {
    const size_t brace = std::min(format.find_first_of("{}"), format.size());
    absl::StrAppend(&out, format.substr(0, brace));
    format.remove_prefix(brace);
    if (format.empty()) break;
    if (format.size() > 1 && format[0] == format[1]) {
      out += format[0];
      format.remove_prefix(2);
      continue;
    }
    const size_t end = format.find_first_of("{}", 1);
    if (format[0] == '}' || end == absl::string_view::npos || format[end] == '{') {
      return TypeError("format: a brace stands alone");
    }
    absl::string_view field = format.substr(1, end - 1);
    format.remove_prefix(end + 1);
    const size_t colon = std::min(field.find(':'), field.size());
    const absl::string_view spec_text = field.substr(std::min(colon + 1, field.size()));
    field = field.substr(0, colon);
    const size_t conversion = std::min(field.find('!'), field.size());
    const absl::string_view how = field.substr(conversion);
    ASSIGN_OR_RETURN(Value value, FieldValue(runtime, field.substr(0, conversion), values, next));
    if (how == "!r" || how == "!s") {
      std::string text;
      RETURN_IF_ERROR(how == "!r" ? AppendRepr(value, runtime.budget(), text)
                                  : AppendText(value, runtime.budget(), text));
      value = Value(std::move(text));
    } else if (!how.empty()) {
      return TypeError(absl::StrCat("format: cannot read '", how.substr(0, 40), "'"));
    }
    ASSIGN_OR_RETURN(const Spec spec, ReadBraceSpec(spec_text));
    ASSIGN_OR_RETURN(const std::string text, FormatValue(runtime, value, spec));
    out += text;
  }
  return out;
}

}  // namespace tactus::jinja
