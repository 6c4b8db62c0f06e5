// The methods of Python's str.
#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/characters.h"
#include "common/tokenizer/jinja/runtime.h"
#include "common/tokenizer/jinja/text_operations.h"
#include "common/tokenizer/utf8.h"

namespace tactus::jinja {

size_t FindText(absl::string_view text, absl::string_view part, size_t from) {
  if (from > text.size()) return absl::string_view::npos;
  if (part.empty()) return from;
  // Linear in both, which string_view::find is not.
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  if (found == nullptr) return absl::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

absl::StatusOr<std::string> ReplaceText(Runtime& runtime, absl::string_view text, absl::string_view from,
                                        absl::string_view to, int64_t count) {
  std::string out;
  const uint64_t most = count < 0 ? UINT64_MAX : static_cast<uint64_t>(count);
  size_t at = 0;
  for (uint64_t done = 0; done < most; ++done) {
    if (from.empty()) {
      RETURN_IF_ERROR(runtime.Charge(8 + to.size()));
      absl::StrAppend(&out, to);
      if (at == text.size()) return out;
      const size_t length = DecodeUtf8(text, at).length_bytes;
      absl::StrAppend(&out, text.substr(at, length));
      at += length;
      continue;
    }
    const size_t found = FindText(text, from, at);
    if (found == absl::string_view::npos) break;
    RETURN_IF_ERROR(runtime.Charge(8 + to.size()));
    absl::StrAppend(&out, text.substr(at, found - at), to);
    at = found + from.size();
  }
  return absl::StrCat(out, text.substr(at));
}

absl::string_view StripCharacters(absl::string_view text, absl::string_view characters, bool left, bool right) {
  const std::vector<absl::string_view> set = Scalars(characters);
  const auto strips = [&](absl::string_view scalar) { return std::find(set.begin(), set.end(), scalar) != set.end(); };
  while (left && !text.empty()) {
    const absl::string_view scalar = text.substr(0, DecodeUtf8(text, 0).length_bytes);
    if (!strips(scalar)) break;
    text.remove_prefix(scalar.size());
  }
  while (right && !text.empty()) {
    const size_t length = DecodeUtf8Before(text, text.size()).length_bytes;
    if (!strips(text.substr(text.size() - length))) break;
    text.remove_suffix(length);
  }
  return text;
}

absl::StatusOr<std::string> PadText(Runtime& runtime, absl::string_view text, int64_t width, absl::string_view fill,
                                    Side side) {
  const int64_t have = static_cast<int64_t>(CountScalars(text));
  const int64_t missing = std::max<int64_t>(width - have, 0);
  RETURN_IF_ERROR(runtime.Charge(static_cast<size_t>(missing)));
  RETURN_IF_ERROR(runtime.Charge(3 * static_cast<size_t>(missing)));
  // Where both sides cannot get as much, Python gives the left one more when the width is odd.
  const int64_t left = side == Side::kLeft ? 0 : side == Side::kRight ? missing : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) absl::StrAppend(&out, fill);
  absl::StrAppend(&out, text);
  for (int64_t i = left; i < missing; ++i) absl::StrAppend(&out, fill);
  return out;
}

namespace {

using Result = absl::StatusOr<Value>;

template <bool left, bool right>
Result Strip(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("strip", arguments, {"chars"}));
  if (!bound[0].has_value() || bound[0]->is_none()) return Value(std::string(StripSpace(*self.text(), left, right)));
  ASSIGN_OR_RETURN(const std::string characters, TextArgument(*bound[0]));
  RETURN_IF_ERROR(runtime.Charge((1 + self.size()) * characters.size()));
  return Value(std::string(StripCharacters(*self.text(), characters, left, right)));
}

Result NewTexts(Runtime& runtime, const std::vector<absl::string_view>& parts, ListForm form = ListForm::kList) {
  std::vector<Value> items;
  RETURN_IF_ERROR(runtime.Charge(parts.size() * 64));
  for (const absl::string_view part : parts) items.emplace_back(std::string(part));
  return runtime.NewList(std::move(items), form);
}

// At runs of white space, none of which stands in a part.
std::vector<absl::string_view> SplitAtSpace(absl::string_view text, uint64_t most, bool from_right) {
  std::vector<absl::string_view> parts;
  text = StripSpace(text, !from_right, from_right);
  while (!text.empty()) {
    if (parts.size() == most) {
      parts.push_back(StripSpace(text, from_right, !from_right));
      break;
    }
    size_t end = from_right ? text.size() : 0;
    while (from_right ? end > 0 : end < text.size()) {
      const Scalar scalar = from_right ? DecodeUtf8Before(text, end) : DecodeUtf8(text, end);
      if (IsPythonSpace(scalar.code_point)) break;
      end = from_right ? end - scalar.length_bytes : end + scalar.length_bytes;
    }
    parts.push_back(from_right ? text.substr(end) : text.substr(0, end));
    text = StripSpace(from_right ? text.substr(0, end) : text.substr(end), !from_right, from_right);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

// Errors: the budget's. From the right, time is that of both lengths multiplied.
absl::StatusOr<std::vector<absl::string_view>> SplitAt(Runtime& runtime, absl::string_view text,
                                                       absl::string_view separator, uint64_t most, bool from_right) {
  RETURN_IF_ERROR(runtime.Charge(from_right ? text.size() * separator.size() : text.size()));
  std::vector<size_t> places;
  // Found from the left in any case; only which of them count depends on the side. Where separators overlap, as in
  // "aaa" at "aa", the sides differ, so that from the right they are looked for backwards.
  if (!from_right) {
    for (size_t at = FindText(text, separator, 0); at != text.npos && places.size() < most;
         at = FindText(text, separator, at + separator.size())) {
      places.push_back(at);
    }
  } else {
    for (size_t end = text.size(); places.size() < most && end >= separator.size();) {
      if (absl::EndsWith(text.substr(0, end), separator)) {
        end -= separator.size();
        places.push_back(end);
      } else {
        --end;
      }
    }
    std::reverse(places.begin(), places.end());
  }
  RETURN_IF_ERROR(runtime.Charge(places.size() * 64));
  std::vector<absl::string_view> parts;
  size_t start = 0;
  for (const size_t place : places) {
    parts.push_back(text.substr(start, place - start));
    start = place + separator.size();
  }
  parts.push_back(text.substr(start));
  return parts;
}

template <bool from_right>
Result Split(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("split", arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const int64_t limit, WholeOr(bound[1], -1));
  const uint64_t most = limit < 0 ? UINT64_MAX : static_cast<uint64_t>(limit);
  if (!bound[0].has_value() || bound[0]->is_none())
    return NewTexts(runtime, SplitAtSpace(*self.text(), most, from_right));
  ASSIGN_OR_RETURN(const std::string separator, TextArgument(*bound[0]));
  if (separator.empty()) return TypeError("split: the separator is empty");
  ASSIGN_OR_RETURN(const auto parts, SplitAt(runtime, *self.text(), separator, most, from_right));
  return NewTexts(runtime, parts);
}

template <bool from_right>
Result Partition(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("partition", arguments, {"sep"}, 1));
  ASSIGN_OR_RETURN(const std::string separator, TextArgument(*bound[0]));
  if (separator.empty()) return TypeError("partition: the separator is empty");
  ASSIGN_OR_RETURN(std::vector<absl::string_view> parts, SplitAt(runtime, *self.text(), separator, 1, from_right));
  if (parts.size() == 2) {
    parts.insert(parts.begin() + 1, separator);
  } else {
    parts.insert(from_right ? parts.begin() : parts.end(), 2, "");
  }
  return NewTexts(runtime, parts, ListForm::kTuple);
}

// The part of the text that [start, stop), in scalars, leaves; nullopt: the start lies behind the end.
struct Part {
  absl::string_view text;
  int64_t start;  // in scalars
};
absl::StatusOr<std::optional<Part>> PartOf(const Value& self, const std::optional<Value>& from,
                                           const std::optional<Value>& to) {
  const absl::string_view text = *self.text();
  const int64_t size = static_cast<int64_t>(CountScalars(text));
  ASSIGN_OR_RETURN(int64_t start, WholeOr(from, 0));
  ASSIGN_OR_RETURN(int64_t stop, WholeOr(to, size));
  if (start < 0) start = std::max<int64_t>(start + size, 0);
  if (stop < 0) stop = std::max<int64_t>(stop + size, 0);
  stop = std::min(stop, size);
  if (start > stop) return std::optional<Part>();
  const size_t begin = ScalarOffset(text, static_cast<size_t>(start));
  return Part{text.substr(begin, ScalarOffset(text, static_cast<size_t>(stop)) - begin), start};
}

template <bool from_right, bool must>
Result FindPlace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("find", arguments, {"sub", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const std::string sought, TextArgument(*bound[0]));
  ASSIGN_OR_RETURN(const std::optional<Part> part, PartOf(self, bound[1], bound[2]));
  size_t at = absl::string_view::npos;
  if (part && !from_right) at = FindText(part->text, sought, 0);
  if (part && from_right) {
    at = part->text.size();
    if (!sought.empty()) {
      ASSIGN_OR_RETURN(const auto parts, SplitAt(runtime, part->text, sought, 1, true));
      at = parts.size() == 2 ? parts[0].size() : absl::string_view::npos;
    }
  }
  if (at != absl::string_view::npos) {
    return Value(part->start + static_cast<int64_t>(CountScalars(part->text.substr(0, at))));
  }
  return must ? Result(TypeError("index: the text does not hold what is looked for")) : Result(Value(-1));
}

Result Count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("count", arguments, {"sub", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const std::string sought, TextArgument(*bound[0]));
  ASSIGN_OR_RETURN(const std::optional<Part> part, PartOf(self, bound[1], bound[2]));
  if (!part) return Value(0);
  if (sought.empty()) return Value(static_cast<int64_t>(CountScalars(part->text)) + 1);
  ASSIGN_OR_RETURN(const auto parts, SplitAt(runtime, part->text, sought, UINT64_MAX, false));
  return Value(static_cast<int64_t>(parts.size()) - 1);
}

template <bool at_start>
Result Affixed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("startswith", arguments, {"prefix", "start", "end"}, 1));
  ASSIGN_OR_RETURN(const std::optional<Part> part, PartOf(self, bound[1], bound[2]));
  std::vector<Value> affixes = {*bound[0]};
  if (bound[0]->list() != nullptr && bound[0]->list()->form == ListForm::kTuple) affixes = bound[0]->list()->items;
  for (const Value& affix : affixes) {
    ASSIGN_OR_RETURN(const std::string text, TextArgument(affix));
    RETURN_IF_ERROR(runtime.Charge(text.size()));
    if (part && (at_start ? absl::StartsWith(part->text, text) : absl::EndsWith(part->text, text))) return Value(true);
  }
  return Value(false);
}

template <bool at_start>
Result WithoutAffix(Runtime&, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("removeprefix", arguments, {"affix"}, 1));
  ASSIGN_OR_RETURN(const std::string affix, TextArgument(*bound[0]));
  const absl::string_view text = *self.text();
  return Value(std::string(at_start ? absl::StripPrefix(text, affix) : absl::StripSuffix(text, affix)));
}

Result Replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("replace", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const std::string from, TextArgument(*bound[0]));
  ASSIGN_OR_RETURN(const std::string to, TextArgument(*bound[1]));
  ASSIGN_OR_RETURN(const int64_t count, WholeOr(bound[2], -1));
  ASSIGN_OR_RETURN(std::string text, ReplaceText(runtime, *self.text(), from, to, count));
  return Value(std::move(text));
}

Result Join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("join", arguments, {"iterable"}, 1));
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(*bound[0]));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string text, TextArgument(items[i]));
    RETURN_IF_ERROR(runtime.Charge(text.size() + self.size()));
    absl::StrAppend(&out, i > 0 ? *self.text() : "", text);
  }
  return Value(std::move(out));
}

Result Lines(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("splitlines", arguments, {"keepends"}));
  return NewTexts(runtime, SplitLines(*self.text(), bound[0].has_value() && IsTrue(*bound[0])));
}

template <std::string (*convert)(absl::string_view)>
Result Convert(Runtime&, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("a method of a text", arguments, {}).status());
  return Value(convert(*self.text()));
}

template <bool (*holds)(uint32_t), bool of_empty>
Result All(Runtime&, const Value& self, const Arguments&) {
  const std::vector<absl::string_view> scalars = Scalars(*self.text());
  if (scalars.empty()) return Value(of_empty);
  return Value(std::all_of(scalars.begin(), scalars.end(), [](absl::string_view s) { return holds(CodePointOf(s)); }));
}

bool IsLetterOrNumber(uint32_t c) { return IsLetter(c) || IsNumberSign(c); }
bool IsAscii(uint32_t c) { return c < 0x80; }

template <Side side>
Result Pad(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("center", arguments, {"width", "fillchar"}, 1));
  ASSIGN_OR_RETURN(const int64_t width, WholeOr(bound[0], 0));
  std::string fill = " ";
  if (bound[1].has_value()) {
    ASSIGN_OR_RETURN(fill, TextArgument(*bound[1]));
  }
  if (CountScalars(fill) != 1) return TypeError("the fill of a text is one character");
  ASSIGN_OR_RETURN(std::string out, PadText(runtime, *self.text(), width, fill, side));
  return Value(std::move(out));
}

Result ZeroFill(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("zfill", arguments, {"width"}, 1));
  ASSIGN_OR_RETURN(const int64_t width, WholeOr(bound[0], 0));
  absl::string_view digits = *self.text();
  const bool sign = absl::StartsWith(digits, "-") || absl::StartsWith(digits, "+");
  const std::string head(digits.substr(0, sign ? 1 : 0));
  digits.remove_prefix(head.size());
  if (width < 0) return self;
  ASSIGN_OR_RETURN(const std::string out, PadText(runtime, digits, width - (sign ? 1 : 0), "0", Side::kRight));
  return Value(head + out);
}

Result Format(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(std::string out, BraceFormat(runtime, *self.text(), arguments));
  return Value(std::move(out));
}

// Whether letters of this case are there, and none of the other.
template <bool (*is_case)(uint32_t), bool (*is_other)(uint32_t)>
Result OfCase(Runtime&, const Value& self, const Arguments&) {
  bool some = false;
  for (const absl::string_view scalar : Scalars(*self.text())) {
    if (is_other(CodePointOf(scalar))) return Value(false);
    some = some || is_case(CodePointOf(scalar));
  }
  return Value(some);
}

constexpr NamedBuiltin kTextMethods[] = {
    {"capitalize", Convert<Capitalize>},
    {"casefold", Convert<Lower>},
    {"center", Pad<Side::kBoth>},
    {"count", Count},
    {"endswith", Affixed<false>},
    {"find", FindPlace<false, false>},
    {"format", Format},
    {"index", FindPlace<false, true>},
    {"isalnum", All<IsLetterOrNumber, false>},
    {"isalpha", All<IsLetter, false>},
    {"isascii", All<IsAscii, true>},
    {"isdecimal", All<IsDecimal, false>},
    {"isdigit", All<IsDigit, false>},
    {"islower", OfCase<IsLower, IsUpper>},
    {"isnumeric", All<IsNumberSign, false>},
    {"isprintable", All<IsPrintable, true>},
    {"isspace", All<IsPythonSpace, false>},
    {"isupper", OfCase<IsUpper, IsLower>},
    {"join", Join},
    {"ljust", Pad<Side::kLeft>},
    {"lower", Convert<Lower>},
    {"lstrip", Strip<true, false>},
    {"partition", Partition<false>},
    {"removeprefix", WithoutAffix<true>},
    {"removesuffix", WithoutAffix<false>},
    {"replace", Replace},
    {"rfind", FindPlace<true, false>},
    {"rindex", FindPlace<true, true>},
    {"rjust", Pad<Side::kRight>},
    {"rpartition", Partition<true>},
    {"rsplit", Split<true>},
    {"rstrip", Strip<false, true>},
    {"split", Split<false>},
    {"splitlines", Lines},
    {"startswith", Affixed<true>},
    {"strip", Strip<true, true>},
    {"swapcase", Convert<SwapCase>},
    {"title", Convert<Title>},
    {"upper", Convert<Upper>},
    {"zfill", ZeroFill},
};

}  // namespace

Builtin FindTextMethod(absl::string_view name) { return FindIn(kTextMethods, name); }

}  // namespace tactus::jinja
