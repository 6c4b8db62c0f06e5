// str(), repr() and json.dumps.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/characters.h"
#include "common/tokenizer/jinja/objects.h"
#include "common/tokenizer/jinja/value.h"
#include "common/tokenizer/utf8.h"

namespace tactus::jinja {
namespace {

void AppendQuoted(absl::string_view text, std::string& out) {
  const bool use_double = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = use_double ? '"' : '\'';
  out += quote;
  for (size_t at = 0; at < text.size();) {
    const Scalar scalar = DecodeUtf8(text, at);
    const uint32_t c = scalar.code_point;
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      absl::StrAppend(&out, "\\", text.substr(at, 1));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (IsPrintable(c)) {
      out.append(text.data() + at, scalar.length_bytes);
    } else if (c < 0x100) {
      absl::StrAppendFormat(&out, "\\x%02x", c);
    } else {
      absl::StrAppend(&out, c < 0x10000 ? absl::StrFormat("\\u%04x", c) : absl::StrFormat("\\U%08x", c));
    }
    at += scalar.length_bytes;
  }
  out += quote;
}

absl::Status AppendList(const List& list, Budget& budget, std::string& out) {
  if (list.form == ListForm::kRange) {
    // What it was made of is known from its numbers where they follow each other, and printed nowhere in earnest.
    if (list.items.size() < 2 || *list.items[1].integer() - *list.items[0].integer() != 1) {
      return TypeError("this range cannot be printed: expected one of steps of 1");
    }
    absl::StrAppend(&out, "range(", *list.items.front().integer(), ", ", *list.items.back().integer() + 1, ")");
    return absl::OkStatus();
  }
  const bool tuple = list.form == ListForm::kTuple || list.form == ListForm::kGroup;
  if (IsView(list.form)) absl::StrAppend(&out, TypeName(list.form), "(");
  out += tuple ? "(" : "[";
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    RETURN_IF_ERROR(AppendRepr(list.items[i], budget, out));
  }
  if (tuple && list.items.size() == 1) out += ",";
  out += tuple ? ")" : "]";
  if (IsView(list.form)) out += ")";
  return absl::OkStatus();
}

absl::Status AppendDict(const Dict& dict, Budget& budget, std::string& out) {
  out += "{";
  for (size_t i = 0; i < dict.items.size(); ++i) {
    if (i > 0) out += ", ";
    RETURN_IF_ERROR(AppendRepr(dict.items[i].first, budget, out));
    out += ": ";
    RETURN_IF_ERROR(AppendRepr(dict.items[i].second, budget, out));
  }
  out += "}";
  return absl::OkStatus();
}

void AppendJsonText(absl::string_view text, bool ascii, std::string& out) {
  out += '"';
  for (size_t at = 0; at < text.size();) {
    const Scalar scalar = DecodeUtf8(text, at);
    const uint32_t c = scalar.code_point;
    static constexpr absl::string_view kShort = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
    const size_t place = c < 0x80 ? kShort.find(static_cast<char>(c)) : absl::string_view::npos;
    if (place != absl::string_view::npos) {
      absl::StrAppend(&out, "\\", kLetters.substr(place, 1));
    } else if (c < 0x20 || (ascii && c > 0x7E && c < 0x10000)) {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    } else if (ascii && c >= 0x10000) {
      const uint32_t above = c - 0x10000;
      absl::StrAppendFormat(&out, "\\u%04x\\u%04x", 0xD800 + (above >> 10), 0xDC00 + (above & 0x3FF));
    } else {
      out.append(text.data() + at, scalar.length_bytes);
    }
    at += scalar.length_bytes;
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget, std::string& out) : style_(style), budget_(budget), out_(out) {}

  absl::Status Write(const Value& value, size_t level) {
    RETURN_IF_ERROR(budget_.Charge(32 + (value.text() != nullptr ? 6 * value.size() : 0)));
    if (const std::string* text = value.text()) {
      AppendJsonText(*text, style_.ascii, out_);
    } else if (value.list() != nullptr && value.list()->form <= ListForm::kGroup) {
      return WriteList(*value.list(), level);
    } else if (const Dict* dict = value.dict()) {
      return WriteDict(*dict, level);
    } else {
      ASSIGN_OR_RETURN(const std::string scalar, ScalarText(value));
      out_ += scalar;
    }
    return absl::OkStatus();
  }

 private:
  static absl::StatusOr<std::string> ScalarText(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* truth = value.boolean()) return *truth ? "true" : "false";
    if (const int64_t* number = value.integer()) return absl::StrCat(*number);
    if (const double* number = value.real()) {
      if (std::isnan(*number)) return "NaN";
      return std::isinf(*number) ? (*number > 0 ? "Infinity" : "-Infinity") : RealText(*number);
    }
    return TypeError(absl::StrCat("tojson: a value of type ", value.type_name(), " has no JSON"));
  }

  absl::Status NewLine(size_t level) {
    if (!style_.indent) return absl::OkStatus();
    RETURN_IF_ERROR(budget_.Charge(1 + level * style_.indent->size()));
    out_ += '\n';
    for (size_t i = 0; i < level; ++i) out_ += *style_.indent;
    return absl::OkStatus();
  }

  absl::Status Between(bool first, size_t level) {
    RETURN_IF_ERROR(budget_.Charge(style_.item_separator.size() + style_.key_separator.size()));
    if (!first) out_ += style_.item_separator;
    return NewLine(level);
  }

  absl::Status WriteList(const List& list, size_t level) {
    if (list.items.empty()) {
      out_ += "[]";
      return absl::OkStatus();
    }
    out_ += '[';
    for (size_t i = 0; i < list.items.size(); ++i) {
      RETURN_IF_ERROR(Between(i == 0, level + 1));
      RETURN_IF_ERROR(Write(list.items[i], level + 1));
    }
    RETURN_IF_ERROR(NewLine(level));
    out_ += ']';
    return absl::OkStatus();
  }

  absl::Status WriteDict(const Dict& dict, size_t level) {
    if (dict.items.empty()) {
      out_ += "{}";
      return absl::OkStatus();
    }
    std::vector<std::pair<std::string, const Value*>> members;
    for (const auto& [key, value] : dict.items) {
      if (const std::string* text = key.text()) {
        members.emplace_back(*text, &value);
        continue;
      }
      ASSIGN_OR_RETURN(std::string name, ScalarText(key));
      members.emplace_back(std::move(name), &value);
    }
    if (style_.sort_keys) {
      std::stable_sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    out_ += '{';
    bool first = true;
    for (const auto& [name, value] : members) {
      RETURN_IF_ERROR(Between(std::exchange(first, false), level + 1));
      RETURN_IF_ERROR(budget_.Charge(6 * name.size()));
      AppendJsonText(name, style_.ascii, out_);
      out_ += style_.key_separator;
      RETURN_IF_ERROR(Write(*value, level + 1));
    }
    RETURN_IF_ERROR(NewLine(level));
    out_ += '}';
    return absl::OkStatus();
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string& out_;
};

}  // namespace

std::string RealText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::scientific).ptr;
  const absl::string_view text(buffer, static_cast<size_t>(end - buffer));  // the shortest that reads back
  const size_t e = text.find('e');
  int exponent = 0;
  const char* digits_end = text.data() + text.size();
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), digits_end, exponent);
  if (exponent < -4 || exponent >= 16) {
    return absl::StrCat(text.substr(0, e), absl::StrFormat("e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent)));
  }
  const auto fixed = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::fixed).ptr;
  std::string plain(buffer, fixed);
  return plain.find('.') == plain.npos ? plain + ".0" : plain;
}

absl::Status AppendText(const Value& value, Budget& budget, std::string& out) {
  if (value.is_undefined()) {
    // Nothing is printed, but for an attribute that templates must not touch, which fails as soon as it is used.
    return absl::OkStatus();
  }
  if (const std::string* text = value.text()) {
    RETURN_IF_ERROR(budget.Charge(text->size()));
    out += *text;
    return absl::OkStatus();
  }
  return AppendRepr(value, budget, out);
}

absl::Status AppendRepr(const Value& value, Budget& budget, std::string& out) {
  RETURN_IF_ERROR(budget.Charge(32 + (value.text() != nullptr ? 10 * value.size() : 0)));
  if (value.is_undefined()) {
    out += "Undefined";
  } else if (value.is_none()) {
    out += "None";
  } else if (const bool* truth = value.boolean()) {
    out += *truth ? "True" : "False";
  } else if (const int64_t* whole = value.integer()) {
    absl::StrAppend(&out, *whole);
  } else if (const double* number = value.real()) {
    out += RealText(*number);
  } else if (const std::string* text = value.text()) {
    AppendQuoted(*text, out);
  } else if (const List* list = value.list()) {
    return AppendList(*list, budget, out);
  } else if (const Dict* dict = value.dict()) {
    return AppendDict(*dict, budget, out);
  } else {
    absl::StrAppend(&out, "<", value.type_name(), ">");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ToText(const Value& value, Budget& budget) {
  std::string out;
  RETURN_IF_ERROR(AppendText(value, budget, out));
  return out;
}

absl::StatusOr<std::string> ToJson(const Value& value, const JsonStyle& style, Budget& budget) {
  std::string out;
  RETURN_IF_ERROR(JsonWriter(style, budget, out).Write(value, 0));
  return out;
}

}  // namespace tactus::jinja
