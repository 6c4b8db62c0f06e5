// What stands behind `is`, the methods of lists and dictionaries, and the global functions.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/runtime.h"

namespace tactus::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// A test without arguments.
template <bool (*holds)(const Value&)>
Result Plain(Runtime&, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("a test", arguments, {}).status());
  return Value(holds(value));
}

template <bool (*holds)(int)>
Result Ordered(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("a test", arguments, {"other"}, 1));
  ASSIGN_OR_RETURN(const std::optional<int> order, Compare(value, *bound[0], runtime.budget()));
  return Value(order.has_value() && holds(*order));
}

Result IsEqual(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("a test", arguments, {"other"}, 1));
  ASSIGN_OR_RETURN(const bool same, Equal(value, *bound[0], runtime.budget()));
  return Value(same);
}

Result IsUnequal(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Value same, IsEqual(runtime, value, arguments));
  return Value(!IsTrue(same));
}

Result IsIn(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("in", arguments, {"seq"}, 1));
  ASSIGN_OR_RETURN(const bool inside, Contains(*bound[0], value, runtime.budget()));
  return Value(inside);
}

Result IsSameAs(Runtime&, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("sameas", arguments, {"other"}, 1));
  return Value(value.SameAs(*bound[0]));
}

Result IsDivisible(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("divisibleby", arguments, {"num"}, 1));
  ASSIGN_OR_RETURN(const Value rest, runtime.Binary("%", value, *bound[0]));
  return Value(!IsTrue(rest));
}

Result HasParity(Runtime& runtime, const Value& value, bool odd) {
  ASSIGN_OR_RETURN(const Value rest, runtime.Binary("%", value, Value(2)));
  ASSIGN_OR_RETURN(const bool same, Equal(rest, Value(odd ? 1 : 0), runtime.budget()));
  return Value(same);
}

// What a method of the value's text says.
Result AsText(Runtime& runtime, const Value& value, absl::string_view method) {
  ASSIGN_OR_RETURN(std::string text, runtime.Text(value));
  return FindTextMethod(method)(runtime, Value(std::move(text)), {});
}

bool IsSequence(const Value& v) {
  return v.is_undefined() || v.text() != nullptr || v.dict() != nullptr ||
         (v.list() != nullptr && !IsView(v.list()->form));
}
bool IsIterable(const Value& v) {
  return IsSequence(v) || v.list() != nullptr || (v.object() != nullptr && v.object()->type_name() == "generator");
}
bool IsAtLeast(int order) { return order >= 0; }
bool IsAbove(int order) { return order > 0; }
bool IsAtMost(int order) { return order <= 0; }
bool IsBelow(int order) { return order < 0; }
bool IsReal(const Value& v) { return v.real() != nullptr; }
bool IsCallable(const Value& v) { return v.is_undefined() || (v.object() != nullptr && v.object()->callable()); }

constexpr NamedBuiltin kTests[] = {
    {"boolean", Plain<[](const Value& v) { return v.boolean() != nullptr; }>},
    {"callable", Plain<IsCallable>},
    {"defined", Plain<[](const Value& v) { return !v.is_undefined(); }>},
    {"divisibleby", IsDivisible},
    {"eq", IsEqual},
    {"equalto", IsEqual},
    {"==", IsEqual},
    {"escaped", Plain<[](const Value&) { return false; }>},
    {"even", [](Runtime& r, const Value& v, const Arguments&) { return HasParity(r, v, false); }},
    {"false", Plain<[](const Value& v) { return v.boolean() != nullptr && !*v.boolean(); }>},
    {"filter",
     [](Runtime&, const Value& v, const Arguments&) -> Result {
       return Value(v.text() != nullptr &&
                    (FindFilter(*v.text()) != nullptr || FindSequenceFilter(*v.text()) != nullptr));
     }},
    {"float", Plain<IsReal>},
    {"ge", Ordered<IsAtLeast>},
    {">=", Ordered<IsAtLeast>},
    {"gt", Ordered<IsAbove>},
    {"greaterthan", Ordered<IsAbove>},
    {">", Ordered<IsAbove>},
    {"in", IsIn},
    {"integer", Plain<[](const Value& v) { return v.integer() != nullptr; }>},
    {"iterable", Plain<IsIterable>},
    {"le", Ordered<IsAtMost>},
    {"<=", Ordered<IsAtMost>},
    {"lt", Ordered<IsBelow>},
    {"lessthan", Ordered<IsBelow>},
    {"<", Ordered<IsBelow>},
    {"lower", [](Runtime& r, const Value& v, const Arguments&) { return AsText(r, v, "islower"); }},
    {"mapping", Plain<[](const Value& v) { return v.dict() != nullptr; }>},
    {"ne", IsUnequal},
    {"!=", IsUnequal},
    {"none", Plain<[](const Value& v) { return v.is_none(); }>},
    {"number", Plain<[](const Value& v) { return v.number().has_value(); }>},
    {"odd", [](Runtime& r, const Value& v, const Arguments&) { return HasParity(r, v, true); }},
    {"sameas", IsSameAs},
    {"sequence", Plain<IsSequence>},
    {"string", Plain<[](const Value& v) { return v.text() != nullptr; }>},
    {"test",
     [](Runtime&, const Value& v, const Arguments&) -> Result {
       return Value(v.text() != nullptr && FindTest(*v.text()) != nullptr);
     }},
    {"true", Plain<[](const Value& v) { return v.boolean() != nullptr && *v.boolean(); }>},
    {"undefined", Plain<[](const Value& v) { return v.is_undefined(); }>},
    {"upper", [](Runtime& r, const Value& v, const Arguments&) { return AsText(r, v, "isupper"); }},
};

Result DictGet(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("get", arguments, {"key", "default"}, 1));
  ASSIGN_OR_RETURN(const Value* const found, Find(*self.dict(), *bound[0], runtime.budget()));
  return found != nullptr ? *found : bound[1].value_or(Value(None{}));
}

template <bool with_keys, bool with_values>
Result DictView(Runtime& runtime, const Value& self, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("a dictionary's view", arguments, {}).status());
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict()->items) {
    if (with_keys && with_values) {
      ASSIGN_OR_RETURN(items.emplace_back(), runtime.NewList({key, value}, ListForm::kTuple));
    } else {
      items.push_back(with_keys ? key : value);
    }
  }
  return runtime.NewList(std::move(items), with_keys && with_values ? ListForm::kItems
                                           : with_keys              ? ListForm::kKeys
                                                                    : ListForm::kValues);
}

constexpr NamedBuiltin kDictMethods[] = {
    {"copy", [](Runtime&, const Value& self, const Arguments&) -> Result { return self; }},
    {"get", DictGet},
    {"items", DictView<true, true>},
    {"keys", DictView<true, false>},
    {"values", DictView<false, true>},
};

Result ListCount(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("count", arguments, {"value"}, 1));
  int64_t count = 0;
  for (const Value& item : self.list()->items) {
    ASSIGN_OR_RETURN(const bool same, Equal(item, *bound[0], runtime.budget()));
    count += same;
  }
  return Value(count);
}

Result ListIndex(Runtime& runtime, const Value& self, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("index", arguments, {"value"}, 1));
  for (size_t i = 0; i < self.list()->items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool same, Equal(self.list()->items[i], *bound[0], runtime.budget()));
    if (same) return Value(static_cast<int64_t>(i));
  }
  return TypeError("a list does not hold what its index is asked for");
}

constexpr NamedBuiltin kListMethods[] = {
    {"copy", [](Runtime&, const Value& self, const Arguments&) -> Result { return self; }},
    {"count", ListCount},
    {"index", ListIndex},
};

constexpr int64_t kMaxRange = 100000;  // as Jinja's sandbox has it

Result Range(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("range", arguments, {"start", "stop", "step"}, 1));
  ASSIGN_OR_RETURN(int64_t start, WholeOr(bound[0], 0));
  ASSIGN_OR_RETURN(int64_t stop, WholeOr(bound[1], 0));
  ASSIGN_OR_RETURN(const int64_t step, WholeOr(bound[2], 1));
  if (!bound[1].has_value()) stop = std::exchange(start, 0);
  if (step == 0) return TypeError("range: the step must not be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return TypeError(absl::StrCat("range: more than ", kMaxRange, " numbers"));
    }
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return runtime.NewList(std::move(items), ListForm::kRange);
}

// The pairs of dict(…) and namespace(…): a dictionary or pairs, then the named ones, a name's last value winning.
absl::StatusOr<std::vector<std::pair<Value, Value>>> Pairs(Runtime& runtime, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> pairs;
  const auto put = [&](const Value& key, const Value& value) -> absl::Status {
    for (auto& [name, old] : pairs) {
      ASSIGN_OR_RETURN(const bool same, Equal(name, key, runtime.budget()));
      if (!same) continue;
      old = value;
      return absl::OkStatus();
    }
    pairs.emplace_back(key, value);
    return absl::OkStatus();
  };
  if (arguments.positional.size() > 1) return TypeError("dict takes one argument that is not named");
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.dict() != nullptr) {
      for (const auto& [key, value] : from.dict()->items) RETURN_IF_ERROR(put(key, value));
    } else {
      ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(from));
      for (const Value& item : items) {
        ASSIGN_OR_RETURN(const std::vector<Value> pair, runtime.Iterate(item));
        if (pair.size() != 2) return TypeError("dict takes pairs of a key and a value");
        RETURN_IF_ERROR(put(pair[0], pair[1]));
      }
    }
  }
  for (const auto& [name, value] : arguments.named) RETURN_IF_ERROR(put(Value(name), value));
  return pairs;
}

Result MakeDict(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(auto pairs, Pairs(runtime, arguments));
  return runtime.NewDict(std::move(pairs));
}

Result MakeNamespace(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(auto pairs, Pairs(runtime, arguments));
  Namespace* made = runtime.New<Namespace>();
  for (auto& [key, value] : pairs) {
    ASSIGN_OR_RETURN(const std::string name, TextArgument(key));
    made->Set(name, std::move(value));
  }
  return Value(made);
}

Result RaiseException(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("raise_exception", arguments, {"message"}, 1));
  ASSIGN_OR_RETURN(const std::string message, runtime.Text(*bound[0]));
  return TypeError(absl::StrCat("the chat template refuses these messages: ", message.substr(0, 1000)));
}

// datetime.now().strftime(format), which knows no time zone.
Result StrftimeNow(Runtime& runtime, const Value&, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("strftime_now", arguments, {"format"}, 1));
  ASSIGN_OR_RETURN(const std::string asked, TextArgument(*bound[0]));
  if (asked.size() > 1000) return TypeError("strftime_now: expected a format of at most 1000 bytes");
  const std::string format = absl::StrReplaceAll(asked, {{"%%", "%%"}, {"%z", ""}, {"%Z", ""}, {"%f", "000000"}});
  if (format.empty()) return Value("");
  std::string out(64 * 1024, '\0');
  const std::tm now = runtime.now();
  out.resize(std::strftime(out.data(), out.size(), format.c_str(), &now));
  return Value(std::move(out));
}

constexpr NamedBuiltin kGlobals[] = {
    {"cycler",
     [](Runtime& runtime, const Value&, const Arguments& arguments) -> Result {
       if (arguments.positional.empty()) return TypeError("cycler needs at least one item");
       return Value(runtime.New<Cycler>(arguments.positional));
     }},
    {"dict", MakeDict},
    {"joiner",
     [](Runtime& runtime, const Value&, const Arguments& arguments) -> Result {
       ASSIGN_OR_RETURN(const auto bound, Bind("joiner", arguments, {"sep"}));
       return Value(runtime.New<Joiner>(bound[0].value_or(Value(", "))));
     }},
    {"namespace", MakeNamespace},
    {"raise_exception", RaiseException},
    {"range", Range},
    {"strftime_now", StrftimeNow},
};

}  // namespace

Value Cycler::Attribute(Runtime& runtime, absl::string_view name) {
  if (name == "current") return items_[next_];
  if (name != "next" && name != "reset") return Value();
  const Builtin step = [](Runtime&, const Value& self, const Arguments&) -> Result {
    auto* cycler = static_cast<Cycler*>(self.object());
    Value now = cycler->items_[cycler->next_];
    cycler->next_ = (cycler->next_ + 1) % cycler->items_.size();
    return now;
  };
  const Builtin reset = [](Runtime&, const Value& self, const Arguments&) -> Result {
    static_cast<Cycler*>(self.object())->next_ = 0;
    return Value(None{});
  };
  return Value(runtime.New<Function>(Value(this), name == "next" ? step : reset));
}

Builtin FindTest(absl::string_view name) { return FindIn(kTests, name); }
Builtin FindDictMethod(absl::string_view name) { return FindIn(kDictMethods, name); }
Builtin FindListMethod(absl::string_view name) { return FindIn(kListMethods, name); }
Builtin FindGlobal(absl::string_view name) { return FindIn(kGlobals, name); }

}  // namespace tactus::jinja
