// The values of a template, with Python's ideas of truth, equality, order and text.
//
// A value is cheap to copy. Lists, dictionaries and texts never change once made, so they cannot hold themselves; what
// does change (namespaces, loops, iterators) are Objects, which the render owns and values only point to.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus::jinja {

class Object;
class Value;

// What a render may cost, in bytes made or looked at; a step of the evaluator counts as some. Not thread-safe.
class Budget {
 public:
  explicit Budget(size_t limit) : left_(limit), limit_(limit) {}
  // InvalidArgument: nothing is left.
  absl::Status Charge(size_t bytes);

 private:
  size_t left_;
  const size_t limit_;
};

// A name that nothing defines, or an attribute that is not there: empty when printed, an error when used otherwise.
struct Undefined {
  std::shared_ptr<const std::string> why;  // null = nothing to say
};
struct None {};

// The Python types that read alike but print or compare unlike.
enum class ListForm { kList, kTuple, kGroup, kRange, kKeys, kValues, kItems };
inline bool IsView(ListForm form) { return form >= ListForm::kKeys; }  // of a dictionary: of a length, but not indexed

absl::string_view TypeName(ListForm form);

struct List {
  std::vector<Value> items;
  ListForm form;
  int depth;  // of lists and dictionaries inside each other
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in order; few, so that searching them one by one is fast
  int depth;
};

class Value {
 public:
  Value() = default;  // undefined
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(None none) : data_(none) {}
  Value(bool truth) : data_(truth) {}
  Value(int64_t number) : data_(number) {}
  Value(int number) : data_(static_cast<int64_t>(number)) {}
  Value(double number) : data_(number) {}
  Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<const List> list) : data_(std::move(list)) {}
  Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
  Value(Object* object) : data_(object) {}

  static Value MissingBecause(std::string why) {
    return Undefined{std::make_shared<const std::string>(std::move(why))};
  }

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  // nullptr: of another kind.
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&data_); }
  const double* real() const { return std::get_if<double>(&data_); }
  const std::string* text() const { return Pointee<std::string>(); }
  const List* list() const { return Pointee<List>(); }
  const Dict* dict() const { return Pointee<Dict>(); }
  Object* object() const {
    Object* const* object = std::get_if<Object*>(&data_);
    return object == nullptr ? nullptr : *object;
  }
  std::optional<int64_t> whole() const;  // an integer, or a truth as Python counts it
  std::optional<double> number() const;  // whole() or a real
  const std::string* why_undefined() const;

  // What Python calls the type.
  absl::string_view type_name() const;
  // Bytes of a text, elements of a list or dictionary, one of anything else.
  size_t size() const;
  int depth() const;
  // The same thing, not only an equal one.
  bool SameAs(const Value& other) const;

 private:
  template <class T>
  const T* Pointee() const {
    const auto* shared = std::get_if<std::shared_ptr<const T>>(&data_);
    return shared == nullptr ? nullptr : shared->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, Object*>
      data_;
};

// A call's arguments.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Every error is InvalidArgument: what Python would raise, in one sentence, or the budget's end.
bool IsTrue(const Value& value);
absl::StatusOr<bool> Equal(const Value& a, const Value& b, Budget& budget);
// Below, equal or above: -1, 0, 1. An error: the two have no order. A NaN has none either, but raises no error:
// nullopt.
absl::StatusOr<std::optional<int>> Compare(const Value& a, const Value& b, Budget& budget);
absl::StatusOr<bool> Contains(const Value& container, const Value& element, Budget& budget);

// str() and repr().
absl::StatusOr<std::string> ToText(const Value& value, Budget& budget);
absl::Status AppendText(const Value& value, Budget& budget, std::string& out);
absl::Status AppendRepr(const Value& value, Budget& budget, std::string& out);
std::string RealText(double number);

// json.dumps. indent < 0: on one line.
struct JsonStyle {
  std::optional<std::string> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool ascii = false;
  bool sort_keys = false;
};
absl::StatusOr<std::string> ToJson(const Value& value, const JsonStyle& style, Budget& budget);

// The value of a key; nullptr: there is none.
absl::StatusOr<const Value*> Find(const Dict& dict, const Value& key, Budget& budget);

absl::Status TypeError(absl::string_view sentence);

}  // namespace tactus::jinja
