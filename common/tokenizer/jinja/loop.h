// What only a renderer makes: macros, and the `loop` inside a {% for %}.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/renderer.h"

namespace tactus::jinja {

class Macro : public Object {
 public:
  Macro(Renderer& renderer, const MacroBody& body, Scope* around) : renderer_(renderer), body_(body), around_(around) {}
  absl::string_view type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  Value Attribute(Runtime&, absl::string_view name) override { return name == "name" ? Value(body_.name) : Value(); }
  absl::StatusOr<Value> Call(Runtime&, const Arguments& arguments) override {
    Arguments plain{arguments.positional, {}};
    Value caller;
    for (const auto& [name, value] : arguments.named) {
      if (name == "caller") {
        caller = value;
      } else {
        plain.named.emplace_back(name, value);
      }
    }
    return renderer_.CallMacro(body_, around_, caller, plain);
  }

 private:
  Renderer& renderer_;
  const MacroBody& body_;
  Scope* const around_;
};

// loop.index, loop.first, … of the item that is on.
class LoopState : public Object {
 public:
  LoopState(Renderer& renderer, const Stmt& loop, Scope* around, const std::vector<Value>& items, int depth)
      : renderer_(renderer), loop_(loop), around_(around), items_(items), depth_(depth) {}

  void MoveTo(size_t index) { index_ = index; }
  // The items are not there any more: the loop is over, but something may still point here.
  void Finish() { finished_ = true; }

  absl::string_view type_name() const override { return "LoopContext"; }
  bool callable() const override { return loop_.recursive; }
  Value Attribute(Runtime& runtime, absl::string_view name) override;
  absl::StatusOr<Value> Call(Runtime& runtime, const Arguments& arguments) override;

 private:
  Value Position(absl::string_view name) const;

  Renderer& renderer_;
  const Stmt& loop_;
  Scope* const around_;
  const std::vector<Value>& items_;
  const int depth_;  // of recursive loops inside each other, from 0
  size_t index_ = 0;
  bool finished_ = false;
  std::optional<std::vector<Value>> last_changed_;
};

}  // namespace tactus::jinja
