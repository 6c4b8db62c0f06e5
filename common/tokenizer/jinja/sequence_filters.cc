// The filters of sequences.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/characters.h"
#include "common/tokenizer/jinja/runtime.h"

namespace tactus::jinja {
namespace {

using Result = absl::StatusOr<Value>;
using Bound = std::optional<Value>;

bool IsSet(const Bound& argument) { return argument.has_value() && IsTrue(*argument); }
bool IsGiven(const Bound& argument) { return argument.has_value() && !argument->is_none(); }

// attribute='a.b.0': each part in turn.
Result Reach(Runtime& runtime, Value item, const Value& path, const Bound& fallback = std::nullopt) {
  if (path.text() == nullptr) return runtime.Item(item, path);
  for (const absl::string_view part : absl::StrSplit(*path.text(), '.')) {
    int64_t index = 0;
    const bool digits = !part.empty() && std::all_of(part.begin(), part.end(), absl::ascii_isdigit);
    const Value key = digits && absl::SimpleAtoi(part, &index) ? Value(index) : Value(std::string(part));
    ASSIGN_OR_RETURN(item, runtime.Item(item, key));
    if (item.is_undefined() && IsGiven(fallback)) item = *fallback;
  }
  return item;
}

// What an item is sorted, grouped and told apart by.
Result KeyOf(Runtime& runtime, const Value& item, const Bound& path, bool case_sensitive,
             const Bound& fallback = std::nullopt) {
  Value key = item;
  if (IsGiven(path)) {
    ASSIGN_OR_RETURN(key, Reach(runtime, item, *path, fallback));
  }
  if (case_sensitive || key.text() == nullptr) return key;
  RETURN_IF_ERROR(runtime.Charge(key.size()));
  return Value(Lower(*key.text()));
}

struct Keyed {
  Value key, item;
};

absl::Status SortByKey(Runtime& runtime, bool reverse, std::vector<Keyed>& keyed) {
  absl::Status failed;
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    if (!failed.ok()) return false;
    const auto order = reverse ? Compare(b.key, a.key, runtime.budget()) : Compare(a.key, b.key, runtime.budget());
    if (!order.ok()) failed = order.status();
    return order.ok() && order->has_value() && **order < 0;
  });
  return failed;
}

absl::StatusOr<std::vector<Value>> ItemsOf(const std::vector<Keyed>& keyed) {
  std::vector<Value> items;
  for (const Keyed& one : keyed) items.push_back(one.item);
  return items;
}

Result First(Runtime& runtime, const Value& value, const Arguments&) {
  if (value.object() != nullptr && value.object()->type_name() == "generator") {
    return static_cast<Iterator*>(value.object())->TakeOne().value_or(Value());
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  return items.empty() ? Value::MissingBecause("first: the sequence is empty") : items.front();
}

Result Last(Runtime& runtime, const Value& value, const Arguments&) {
  if (value.object() != nullptr) return CannotUse(value, "with last");
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  return items.empty() ? Value::MissingBecause("last: the sequence is empty") : items.back();
}

Result ToList(Runtime& runtime, const Value& value, const Arguments&) {
  ASSIGN_OR_RETURN(std::vector<Value> items, runtime.Iterate(value));
  return runtime.NewList(std::move(items));
}

Result Items(Runtime& runtime, const Value& value, const Arguments& arguments) {
  std::vector<Value> items;
  if (value.is_undefined()) return runtime.NewIterator({});
  if (value.dict() == nullptr) return CannotUse(value, "with items");
  ASSIGN_OR_RETURN(const Value view, FindDictMethod("items")(runtime, value, arguments));
  return runtime.NewIterator(view.list()->items);
}

Result Join(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("join", arguments, {"d", "attribute"}));
  ASSIGN_OR_RETURN(const std::string separator, runtime.Text(bound[0].value_or(Value(""))));
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    RETURN_IF_ERROR(runtime.Charge(separator.size()));
    if (i > 0) out += separator;
    Value item = items[i];
    if (IsGiven(bound[1])) {
      ASSIGN_OR_RETURN(item, Reach(runtime, item, *bound[1]));
    }
    RETURN_IF_ERROR(AppendText(item, runtime.budget(), out));
  }
  return Value(std::move(out));
}

Result Reverse(Runtime& runtime, const Value& value, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("reverse", arguments, {}).status());
  ASSIGN_OR_RETURN(std::vector<Value> items, runtime.Iterate(value));
  std::reverse(items.begin(), items.end());
  if (value.text() == nullptr) return runtime.NewIterator(std::move(items));
  std::string out;
  for (const Value& item : items) out += *item.text();
  return Value(std::move(out));
}

// sort(attribute='a,b') sorts by several.
Result Sort(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  std::vector<Bound> paths = {bound[2]};
  if (IsGiven(bound[2]) && bound[2]->text() != nullptr) {
    paths.clear();
    for (const absl::string_view path : absl::StrSplit(*bound[2]->text(), ',')) paths.emplace_back(std::string(path));
  }
  std::vector<Keyed> keyed;
  for (const Value& item : items) {
    std::vector<Value> keys;
    for (const Bound& path : paths) {
      ASSIGN_OR_RETURN(keys.emplace_back(), KeyOf(runtime, item, path, IsSet(bound[1])));
    }
    ASSIGN_OR_RETURN(Value key, runtime.NewList(std::move(keys)));
    keyed.push_back({std::move(key), item});
  }
  RETURN_IF_ERROR(SortByKey(runtime, IsSet(bound[0]), keyed));
  ASSIGN_OR_RETURN(std::vector<Value> sorted, ItemsOf(keyed));
  return runtime.NewList(std::move(sorted));
}

Result DictSort(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}));
  if (value.dict() == nullptr) return CannotUse(value, "with dictsort");
  ASSIGN_OR_RETURN(const std::string by, TextArgument(bound[1].value_or(Value("key"))));
  if (by != "key" && by != "value") return TypeError("dictsort: expected by='key' or by='value'");
  std::vector<Keyed> keyed;
  for (const auto& [key, member] : value.dict()->items) {
    ASSIGN_OR_RETURN(Value pair, runtime.NewList({key, member}, ListForm::kTuple));
    ASSIGN_OR_RETURN(Value sort_key, KeyOf(runtime, by == "key" ? key : member, std::nullopt, IsSet(bound[0])));
    keyed.push_back({std::move(sort_key), std::move(pair)});
  }
  RETURN_IF_ERROR(SortByKey(runtime, IsSet(bound[2]), keyed));
  ASSIGN_OR_RETURN(std::vector<Value> sorted, ItemsOf(keyed));
  return runtime.NewList(std::move(sorted));
}

Result Unique(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("unique", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  std::vector<Value> seen, out;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, KeyOf(runtime, item, bound[1], IsSet(bound[0])));
    bool known = false;
    for (size_t i = 0; i < seen.size() && !known; ++i) {
      ASSIGN_OR_RETURN(known, Equal(seen[i], key, runtime.budget()));
    }
    if (known) continue;
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return runtime.NewIterator(std::move(out));
}

template <bool smallest>
Result Extreme(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("min", arguments, {"case_sensitive", "attribute"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  if (items.empty()) return Value::MissingBecause("min, max: the sequence is empty");
  Value best, best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const Value key, KeyOf(runtime, items[i], bound[1], IsSet(bound[0])));
    if (i > 0) {
      ASSIGN_OR_RETURN(const std::optional<int> order, Compare(key, best_key, runtime.budget()));
      if (!order.has_value() || (smallest ? *order >= 0 : *order <= 0)) continue;
    }
    best = items[i];
    best_key = key;
  }
  return best;
}

Result Sum(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("sum", arguments, {"attribute", "start"}));
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  Value sum = bound[1].value_or(Value(0));
  if (sum.text() != nullptr) return TypeError("sum cannot add texts");
  for (Value item : items) {
    if (IsGiven(bound[0])) {
      ASSIGN_OR_RETURN(item, Reach(runtime, item, *bound[0]));
    }
    ASSIGN_OR_RETURN(sum, runtime.Binary("+", sum, item));
  }
  return sum;
}

Result Map(Runtime& runtime, const Value& value, const Arguments& arguments) {
  if (!IsTrue(value)) return runtime.NewIterator({});
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  std::vector<Value> out;
  if (arguments.positional.empty()) {
    ASSIGN_OR_RETURN(const auto bound, Bind("map", arguments, {"attribute", "default"}, 1));
    for (const Value& item : items) {
      ASSIGN_OR_RETURN(out.emplace_back(), Reach(runtime, item, *bound[0], bound[1]));
    }
    return runtime.NewIterator(std::move(out));
  }
  ASSIGN_OR_RETURN(const std::string name, TextArgument(arguments.positional[0]));
  const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(out.emplace_back(), runtime.Filter(name, item, rest));
  }
  return runtime.NewIterator(std::move(out));
}

// select, reject, and of an attribute: by a test, or by truth where none is named.
template <bool keeps, bool of_attribute>
Result Select(Runtime& runtime, const Value& value, const Arguments& arguments) {
  if (!IsTrue(value)) return runtime.NewIterator({});
  const std::vector<Value>& given = arguments.positional;
  if (of_attribute && given.empty()) return TypeError("selectattr and rejectattr need an attribute");
  constexpr size_t kTest = of_attribute ? 1 : 0;
  std::string test;
  Arguments rest;
  if (given.size() > kTest) {
    ASSIGN_OR_RETURN(test, TextArgument(given[kTest]));
    rest = {{given.begin() + kTest + 1, given.end()}, arguments.named};
  }
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  std::vector<Value> out;
  for (const Value& item : items) {
    Value tested = item;
    if (of_attribute) {
      ASSIGN_OR_RETURN(tested, Reach(runtime, item, given[0]));
    }
    bool holds = IsTrue(tested);
    if (!test.empty()) {
      ASSIGN_OR_RETURN(holds, runtime.Test(test, tested, rest));
    }
    if (holds == keeps) out.push_back(item);
  }
  return runtime.NewIterator(std::move(out));
}

Result GroupBy(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1));
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  std::vector<Keyed> keyed;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, KeyOf(runtime, item, bound[0], IsSet(bound[2]), bound[1]));
    keyed.push_back({std::move(key), item});
  }
  RETURN_IF_ERROR(SortByKey(runtime, false, keyed));
  std::vector<Value> groups;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> members;
    size_t end = i;
    for (bool same = true; same;) {
      members.push_back(keyed[end++].item);
      if (end == keyed.size()) break;
      ASSIGN_OR_RETURN(same, Equal(keyed[i].key, keyed[end].key, runtime.budget()));
    }
    ASSIGN_OR_RETURN(const Value grouper, KeyOf(runtime, members[0], bound[0], true, bound[1]));
    ASSIGN_OR_RETURN(Value list, runtime.NewList(std::move(members)));
    ASSIGN_OR_RETURN(groups.emplace_back(), runtime.NewList({grouper, std::move(list)}, ListForm::kGroup));
    i = end;
  }
  return runtime.NewList(std::move(groups));
}

Result Batch(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("batch", arguments, {"linecount", "fill_with"}, 1));
  ASSIGN_OR_RETURN(const int64_t count, WholeOr(bound[0], 1));
  if (count < 1) return TypeError("batch: expected a count of at least 1");
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  std::vector<Value> out;
  for (size_t i = 0; i < items.size();) {
    const size_t end = std::min(items.size(), i + static_cast<size_t>(std::min<int64_t>(count, 1 << 30)));
    std::vector<Value> line(items.begin() + static_cast<ptrdiff_t>(i), items.begin() + static_cast<ptrdiff_t>(end));
    const size_t missing = static_cast<size_t>(count) - line.size();
    if (IsGiven(bound[1]) && missing > 0) {
      RETURN_IF_ERROR(runtime.Charge(missing < (size_t{1} << 40) ? missing * sizeof(Value) : missing));
      line.insert(line.end(), missing, *bound[1]);
    }
    ASSIGN_OR_RETURN(out.emplace_back(), runtime.NewList(std::move(line)));
    i = end;
  }
  return runtime.NewIterator(std::move(out));
}

Result Slices(Runtime& runtime, const Value& value, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const auto bound, Bind("slice", arguments, {"slices", "fill_with"}, 1));
  ASSIGN_OR_RETURN(const int64_t slices, WholeOr(bound[0], 1));
  if (slices < 1) return TypeError("slice: expected at least one slice");
  ASSIGN_OR_RETURN(const std::vector<Value> items, runtime.Iterate(value));
  const int64_t each = static_cast<int64_t>(items.size()) / slices,
                longer = static_cast<int64_t>(items.size()) % slices;
  std::vector<Value> out;
  for (int64_t i = 0, start = 0; i < slices; ++i) {
    const int64_t end = start + each + (i < longer ? 1 : 0);
    std::vector<Value> part(items.begin() + start, items.begin() + end);
    if (IsGiven(bound[1]) && i >= longer) part.push_back(*bound[1]);
    ASSIGN_OR_RETURN(out.emplace_back(), runtime.NewList(std::move(part)));
    start = end;
  }
  return runtime.NewIterator(std::move(out));
}

constexpr NamedBuiltin kSequenceFilters[] = {
    {"batch", Batch},
    {"dictsort", DictSort},
    {"first", First},
    {"groupby", GroupBy},
    {"items", Items},
    {"join", Join},
    {"last", Last},
    {"list", ToList},
    {"map", Map},
    {"max", Extreme<false>},
    {"min", Extreme<true>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<false, true>},
    {"reverse", Reverse},
    {"select", Select<true, false>},
    {"selectattr", Select<true, true>},
    {"slice", Slices},
    {"sort", Sort},
    {"sum", Sum},
    {"unique", Unique},
};

}  // namespace

Builtin FindSequenceFilter(absl::string_view name) { return FindIn(kSequenceFilters, name); }

}  // namespace tactus::jinja
