// What a template's values may point to beside data. A render owns them all; they live until it ends.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/value.h"

namespace tactus::jinja {

class Runtime;

class Object {
 public:
  virtual ~Object() = default;
  virtual absl::string_view type_name() const = 0;
  // Undefined: it has no such attribute.
  virtual Value Attribute(Runtime&, absl::string_view) { return Value(); }
  virtual bool callable() const { return false; }
  virtual absl::StatusOr<Value> Call(Runtime&, const Arguments&) {
    return TypeError(absl::StrCat("'", type_name(), "' object is not callable"));
  }
  // What is left of an iterator, which is then empty; nullopt: it is none.
  virtual std::optional<std::vector<Value>> TakeItems() { return std::nullopt; }
};

// {% set ns = namespace() %}: what a loop may change for those outside.
class Namespace : public Object {
 public:
  absl::string_view type_name() const override { return "Namespace"; }
  Value Attribute(Runtime&, absl::string_view name) override {
    for (const auto& [key, value] : values_) {
      if (key == name) return value;
    }
    return Value();
  }
  void Set(absl::string_view name, Value value) {
    for (auto& [key, old] : values_) {
      if (key == name) {
        old = std::move(value);
        return;
      }
    }
    values_.emplace_back(std::string(name), std::move(value));
  }

 private:
  std::vector<std::pair<std::string, Value>> values_;
};

// Python's generators: true, of no length, and read once. The items are computed at once, however.
class Iterator : public Object {
 public:
  explicit Iterator(std::vector<Value> items) : items_(std::move(items)) {}
  absl::string_view type_name() const override { return "generator"; }
  std::optional<std::vector<Value>> TakeItems() override {
    return std::vector<Value>(items_.begin() + static_cast<ptrdiff_t>(std::exchange(next_, items_.size())),
                              items_.end());
  }
  std::optional<Value> TakeOne() {
    return next_ < items_.size() ? std::optional<Value>(items_[next_++]) : std::nullopt;
  }

 private:
  const std::vector<Value> items_;
  size_t next_ = 0;
};

using Builtin = absl::StatusOr<Value> (*)(Runtime& runtime, const Value& self, const Arguments& arguments);

// A global function (`self` undefined), or a method of `self`.
class Function : public Object {
 public:
  Function(Value self, Builtin function) : self_(std::move(self)), function_(function) {}
  absl::string_view type_name() const override { return "function"; }
  bool callable() const override { return true; }
  absl::StatusOr<Value> Call(Runtime& runtime, const Arguments& arguments) override;

 private:
  const Value self_;
  const Builtin function_;
};

// cycler('a', 'b'): next(), current, reset().
class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  absl::string_view type_name() const override { return "Cycler"; }
  Value Attribute(Runtime& runtime, absl::string_view name) override;

 private:
  const std::vector<Value> items_;
  size_t next_ = 0;
};

// joiner(', '): nothing the first time it is called, the separator from then on.
class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  absl::string_view type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  absl::StatusOr<Value> Call(Runtime&, const Arguments&) override {
    return std::exchange(used_, true) ? separator_ : Value("");
  }

 private:
  const Value separator_;
  bool used_ = false;
};

}  // namespace tactus::jinja
