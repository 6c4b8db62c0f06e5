// What expressions, filters, tests and methods of a render share: its budget, the objects it owns, and Python's
// operations on values.
#pragma once

#include <ctime>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/objects.h"
#include "common/tokenizer/jinja/value.h"

namespace tactus::jinja {

// Statements, expressions and calls inside each other: what bounds the stack.
inline constexpr int kMaxEvaluationDepth = 800;
inline constexpr int kMaxValueDepth = 64;

// Not thread-safe. Every error is InvalidArgument in one sentence.
class Runtime {
 public:
  Runtime(size_t budget_bytes, std::tm now) : budget_(budget_bytes), now_(now) {}

  Budget& budget() { return budget_; }
  absl::Status Charge(size_t bytes) { return budget_.Charge(bytes); }
  // For a call that reads all of this.
  absl::Status ChargeFor(const Value& self, const Arguments& arguments);
  const std::tm& now() const { return now_; }

  // The runtime owns it.
  template <class T, class... Args>
  T* New(Args&&... args) {
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* raw = object.get();
    objects_.push_back(std::move(object));
    return raw;
  }
  // An error: too deep, or beyond the budget.
  absl::StatusOr<Value> NewList(std::vector<Value> items, ListForm form = ListForm::kList);
  absl::StatusOr<Value> NewDict(std::vector<std::pair<Value, Value>> items);
  absl::StatusOr<Value> NewIterator(std::vector<Value> items);

  // value.name and value[key]; what is not there is undefined.
  absl::StatusOr<Value> Attribute(const Value& value, absl::string_view name);
  absl::StatusOr<Value> Item(const Value& value, const Value& key);
  absl::StatusOr<Value> Slice(const Value& value, const std::optional<Value>& start, const std::optional<Value>& stop,
                              const std::optional<Value>& step);
  absl::StatusOr<Value> Binary(absl::string_view op, const Value& a, const Value& b);
  absl::StatusOr<std::vector<Value>> Iterate(const Value& value);
  absl::StatusOr<Value> Call(const Value& callee, const Arguments& arguments);
  absl::StatusOr<Value> Filter(absl::string_view name, const Value& value, const Arguments& arguments);
  absl::StatusOr<bool> Test(absl::string_view name, const Value& value, const Arguments& arguments);
  absl::StatusOr<std::string> Text(const Value& value) { return ToText(value, budget_); }

  // Counts what is evaluated inside each other: statements, expressions and calls.
  class Depth {
   public:
    explicit Depth(Runtime& runtime) : depth_(runtime.depth_) { ++depth_; }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    absl::Status Check() const {
      return depth_ <= kMaxEvaluationDepth
                 ? absl::OkStatus()
                 : TypeError("more calls, blocks and expressions are inside each other than the limit");
    }

   private:
    int& depth_;
  };

 private:
  // Undefined where there is none; with a reason where there must not be one.
  absl::StatusOr<Value> OwnAttribute(const Value& value, absl::string_view name);
  absl::StatusOr<Value> Subscript(const Value& value, const Value& key);

  Budget budget_;
  const std::tm now_;
  int depth_ = 0;
  std::vector<std::unique_ptr<Object>> objects_;
};

// An operand that is undefined, or of the wrong type for what `doing` says.
absl::Status CannotUse(const Value& value, absl::string_view doing);

// A function's arguments by position or name, nullopt where none is given. An error: one too many, an unknown name, one
// of the first `required` missing.
absl::StatusOr<std::vector<std::optional<Value>>> Bind(absl::string_view function, const Arguments& arguments,
                                                       std::initializer_list<absl::string_view> names,
                                                       size_t required = 0);
// A bound argument as a whole number or text.
absl::StatusOr<int64_t> WholeOr(const std::optional<Value>& argument, int64_t fallback);
absl::StatusOr<std::string> TextArgument(const Value& argument);

// The tables behind Runtime; nullptr: no such name.
Builtin FindFilter(absl::string_view name);
Builtin FindSequenceFilter(absl::string_view name);
Builtin FindTest(absl::string_view name);
Builtin FindTextMethod(absl::string_view name);
Builtin FindDictMethod(absl::string_view name);
Builtin FindListMethod(absl::string_view name);
Builtin FindGlobal(absl::string_view name);

// 'format' % values, and 'format'.format(values).
absl::StatusOr<std::string> PercentFormat(Runtime& runtime, absl::string_view format, const Value& values);
absl::StatusOr<std::string> BraceFormat(Runtime& runtime, absl::string_view format, const Arguments& values);

struct NamedBuiltin {
  absl::string_view name;
  Builtin function;
};
template <size_t N>
Builtin FindIn(const NamedBuiltin (&table)[N], absl::string_view name) {
  for (const NamedBuiltin& entry : table) {
    if (entry.name == name) return entry.function;
  }
  return nullptr;
}

}  // namespace tactus::jinja
