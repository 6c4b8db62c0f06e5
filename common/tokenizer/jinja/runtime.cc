#include "common/tokenizer/jinja/runtime.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/characters.h"

namespace tactus::jinja {
namespace {

// A list's methods that would change it: templates may not.
constexpr absl::string_view kUnsafe[] = {"append",  "clear",  "extend",     "insert", "pop",
                                         "popitem", "remove", "setdefault", "sort",   "update"};

bool IsUnsafe(const Value& value, absl::string_view name) {
  if (value.list() == nullptr && value.dict() == nullptr) return false;
  return std::find(std::begin(kUnsafe), std::end(kUnsafe), name) != std::end(kUnsafe);
}

// Python's slice.indices().
struct Span {
  int64_t start, stop, step;
};

absl::StatusOr<Span> SpanOf(int64_t size, const std::optional<Value>& start, const std::optional<Value>& stop,
                            const std::optional<Value>& step) {
  const auto given = [](const std::optional<Value>& v) { return v.has_value() && !v->is_none(); };
  for (const std::optional<Value>* part : {&start, &stop, &step}) {
    if (given(*part) && !(*part)->whole()) return CannotUse(**part, "as a slice's end");
  }
  const int64_t by = given(step) ? *step->whole() : 1;
  if (by == 0) return TypeError("a slice's step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto clamp = [&](const std::optional<Value>& end, int64_t fallback) {
    if (!given(end)) return fallback;
    const int64_t at = *end->whole();
    if (at < 0) return at < -size ? low : std::max(at + size, low);
    return std::min(at, high);
  };
  return Span{clamp(start, by > 0 ? low : high), clamp(stop, by > 0 ? high : low), by};
}

// Calls `take` with each index of the span.
template <class Take>
void ForEachIndex(const Span& span, const Take& take) {
  if (span.step > 0) {
    for (int64_t i = span.start; i < span.stop; i += std::min(span.step, span.stop - i)) take(static_cast<size_t>(i));
  } else {
    for (int64_t i = span.start; i > span.stop; i -= std::min(-std::max(span.step, -INT64_MAX), i - span.stop)) {
      take(static_cast<size_t>(i));
    }
  }
}

}  // namespace

absl::Status CannotUse(const Value& value, absl::string_view doing) {
  if (!value.is_undefined())
    return TypeError(absl::StrCat("cannot use a value of type ", value.type_name(), " ", doing));
  const std::string* why = value.why_undefined();
  return TypeError(why != nullptr ? *why : std::string("a value is undefined"));
}

absl::Status Runtime::ChargeFor(const Value& self, const Arguments& arguments) {
  size_t bytes = 64 + self.size();
  for (const Value& value : arguments.positional) bytes += value.size();
  for (const auto& [name, value] : arguments.named) bytes += value.size();
  return Charge(bytes);
}

absl::StatusOr<Value> Runtime::NewList(std::vector<Value> items, ListForm form) {
  RETURN_IF_ERROR(Charge(64 + items.size() * sizeof(Value)));
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  if (depth >= kMaxValueDepth) return TypeError("more lists are inside each other than the limit");
  return Value(std::make_shared<const List>(List{std::move(items), form, depth + 1}));
}

absl::StatusOr<Value> Runtime::NewDict(std::vector<std::pair<Value, Value>> items) {
  RETURN_IF_ERROR(Charge(64 + items.size() * 2 * sizeof(Value)));
  int depth = 0;
  for (const auto& [key, value] : items) depth = std::max({depth, key.depth(), value.depth()});
  if (depth >= kMaxValueDepth) return TypeError("more dictionaries are inside each other than the limit");
  return Value(std::make_shared<const Dict>(Dict{std::move(items), depth + 1}));
}

absl::StatusOr<Value> Runtime::NewIterator(std::vector<Value> items) {
  RETURN_IF_ERROR(Charge(64 + items.size() * sizeof(Value)));
  return Value(New<Iterator>(std::move(items)));
}

absl::StatusOr<Value> Runtime::OwnAttribute(const Value& value, absl::string_view name) {
  if (value.is_undefined()) return CannotUse(value, "");
  if (value.object() != nullptr) return value.object()->Attribute(*this, name);
  if (IsUnsafe(value, name)) {
    return Value::MissingBecause(absl::StrCat("a template must not change a ", value.type_name(), " with ", name));
  }
  const List* list = value.list();
  if (list != nullptr && list->form == ListForm::kGroup && (name == "grouper" || name == "list")) {
    return list->items[name == "grouper" ? 0 : 1];
  }
  const Builtin method = value.text() != nullptr   ? FindTextMethod(name)
                         : value.dict() != nullptr ? FindDictMethod(name)
                         : list != nullptr         ? FindListMethod(name)
                                                   : nullptr;
  if (method == nullptr) return Value();
  RETURN_IF_ERROR(Charge(sizeof(Function)));
  return Value(New<Function>(value, method));
}

absl::StatusOr<Value> Runtime::Subscript(const Value& value, const Value& key) {
  if (value.is_undefined()) return CannotUse(value, "");
  if (const Dict* dict = value.dict()) {
    ASSIGN_OR_RETURN(const Value* const found, Find(*dict, key, budget_));
    return found == nullptr ? Value() : *found;
  }
  const std::optional<int64_t> index = key.whole();
  const List* list = value.list();
  const bool indexed = value.text() != nullptr || (list != nullptr && !IsView(list->form));
  if (!index || !indexed) return Value();
  if (value.text() != nullptr) RETURN_IF_ERROR(Charge(2 * value.size()));
  const int64_t size = static_cast<int64_t>(list != nullptr ? list->items.size() : CountScalars(*value.text()));
  const int64_t at = *index < 0 ? *index + size : *index;
  if (at < 0 || at >= size) return Value();
  if (list != nullptr) return list->items[static_cast<size_t>(at)];
  const absl::string_view rest =
      absl::string_view(*value.text()).substr(ScalarOffset(*value.text(), static_cast<size_t>(at)));
  return Value(std::string(rest.substr(0, ScalarOffset(rest, 1))));
}

absl::StatusOr<Value> Runtime::Attribute(const Value& value, absl::string_view name) {
  ASSIGN_OR_RETURN(Value found, OwnAttribute(value, name));
  if (found.is_undefined() && found.why_undefined() == nullptr) {
    ASSIGN_OR_RETURN(found, Subscript(value, std::string(name)));
  }
  if (!found.is_undefined() || found.why_undefined() != nullptr) return found;
  return Value::MissingBecause(absl::StrCat("a ", value.type_name(), " has no '", name.substr(0, 100), "'"));
}

absl::StatusOr<Value> Runtime::Item(const Value& value, const Value& key) {
  ASSIGN_OR_RETURN(Value found, Subscript(value, key));
  if (found.is_undefined() && key.text() != nullptr) {
    ASSIGN_OR_RETURN(found, OwnAttribute(value, *key.text()));
  }
  if (!found.is_undefined() || found.why_undefined() != nullptr) return found;
  return Value::MissingBecause(absl::StrCat("a ", value.type_name(), " has no ",
                                            key.text() != nullptr ? absl::StrCat("'", key.text()->substr(0, 100), "'")
                                                                  : std::string("element of that index")));
}

absl::StatusOr<Value> Runtime::Slice(const Value& value, const std::optional<Value>& start,
                                     const std::optional<Value>& stop, const std::optional<Value>& step) {
  if (value.is_undefined()) return CannotUse(value, "");
  RETURN_IF_ERROR(Charge(value.size() * (value.text() != nullptr ? 4 : 1)));
  if (const std::string* text = value.text()) {
    const std::vector<absl::string_view> scalars = Scalars(*text);
    RETURN_IF_ERROR(Charge(scalars.size() * sizeof(scalars[0])));
    ASSIGN_OR_RETURN(const Span span, SpanOf(static_cast<int64_t>(scalars.size()), start, stop, step));
    std::string out;
    ForEachIndex(span, [&](size_t i) { absl::StrAppend(&out, scalars[i]); });
    return Value(std::move(out));
  }
  const List* list = value.list();
  if (list == nullptr || IsView(list->form)) {
    return Value::MissingBecause(absl::StrCat("a ", value.type_name(), " has no slices"));
  }
  ASSIGN_OR_RETURN(const Span span, SpanOf(static_cast<int64_t>(list->items.size()), start, stop, step));
  std::vector<Value> items;
  ForEachIndex(span, [&](size_t i) { items.push_back(list->items[i]); });
  return NewList(std::move(items), list->form == ListForm::kGroup ? ListForm::kTuple : list->form);
}

absl::StatusOr<std::vector<Value>> Runtime::Iterate(const Value& value) {
  RETURN_IF_ERROR(Charge(64 + value.size() * sizeof(Value)));
  if (value.is_undefined()) return std::vector<Value>();
  if (const List* list = value.list()) return list->items;
  std::vector<Value> items;
  if (const Dict* dict = value.dict()) {
    for (const auto& [key, member] : dict->items) items.push_back(key);
    return items;
  }
  if (const std::string* text = value.text()) {
    for (const absl::string_view scalar : Scalars(*text)) items.emplace_back(std::string(scalar));
    return items;
  }
  if (value.object() != nullptr) {
    if (std::optional<std::vector<Value>> taken = value.object()->TakeItems()) return *std::move(taken);
  }
  return CannotUse(value, "in a loop");
}

absl::StatusOr<Value> Runtime::Call(const Value& callee, const Arguments& arguments) {
  const Depth depth(*this);
  RETURN_IF_ERROR(depth.Check());
  if (callee.object() == nullptr) return CannotUse(callee, "as a function");
  return callee.object()->Call(*this, arguments);
}

absl::StatusOr<Value> Function::Call(Runtime& runtime, const Arguments& arguments) {
  RETURN_IF_ERROR(runtime.ChargeFor(self_, arguments));
  return function_(runtime, self_, arguments);
}

absl::StatusOr<Value> Runtime::Filter(absl::string_view name, const Value& value, const Arguments& arguments) {
  const Depth depth(*this);
  RETURN_IF_ERROR(depth.Check());
  RETURN_IF_ERROR(ChargeFor(value, arguments));
  Builtin filter = FindFilter(name);
  if (filter == nullptr) filter = FindSequenceFilter(name);
  if (filter == nullptr) return TypeError(absl::StrCat("there is no filter '", name.substr(0, 100), "' here"));
  return filter(*this, value, arguments);
}

absl::StatusOr<bool> Runtime::Test(absl::string_view name, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(ChargeFor(value, arguments));
  const Builtin test = FindTest(name);
  if (test == nullptr) return TypeError(absl::StrCat("there is no test '", name.substr(0, 100), "' here"));
  ASSIGN_OR_RETURN(const Value result, test(*this, value, arguments));
  return IsTrue(result);
}

absl::StatusOr<std::vector<std::optional<Value>>> Bind(absl::string_view function, const Arguments& arguments,
                                                       std::initializer_list<absl::string_view> names,
                                                       size_t required) {
  if (arguments.positional.size() > names.size()) {
    return TypeError(
        absl::StrCat(function, " takes at most ", names.size(), " arguments, got ", arguments.positional.size()));
  }
  std::vector<std::optional<Value>> bound(names.size());
  std::copy(arguments.positional.begin(), arguments.positional.end(), bound.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto place = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    if (place == names.size())
      return TypeError(absl::StrCat(function, " has no parameter '", name.substr(0, 100), "'"));
    if (bound[place].has_value()) return TypeError(absl::StrCat(function, " got '", name, "' twice"));
    bound[place] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!bound[i].has_value()) return TypeError(absl::StrCat(function, " needs '", names.begin()[i], "'"));
  }
  return bound;
}

absl::StatusOr<int64_t> WholeOr(const std::optional<Value>& argument, int64_t fallback) {
  if (!argument.has_value() || argument->is_none()) return fallback;
  if (argument->whole()) return *argument->whole();
  return CannotUse(*argument, "where a whole number is expected");
}

absl::StatusOr<std::string> TextArgument(const Value& argument) {
  if (argument.text() != nullptr) return *argument.text();
  return CannotUse(argument, "where a text is expected");
}

}  // namespace tactus::jinja
