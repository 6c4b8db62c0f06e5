// Walks a parsed template and writes what it prints.
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tokenizer/jinja/ast.h"
#include "common/tokenizer/jinja/runtime.h"

namespace tactus::jinja {

// The names that one block sees, beside those of the blocks around it.
struct Scope {
  Scope* around;
  std::vector<std::pair<absl::string_view, Value>> names;  // the names belong to the tree, or are literals

  void Set(absl::string_view name, Value value);
};

// One render. The tree outlives it. Not thread-safe. Errors: InvalidArgument, "line N: …".
class Renderer {
 public:
  // `given` are the names a template finds: messages, add_generation_prompt, …
  Renderer(Runtime& runtime, std::vector<std::pair<absl::string_view, Value>> given);

  absl::StatusOr<std::string> Run(const Block& block);

  // For macros and recursive loops. What they print is returned.
  absl::StatusOr<Value> CallMacro(const MacroBody& macro, Scope* around, const Value& caller,
                                  const Arguments& arguments);
  absl::StatusOr<Value> RunLoop(const Stmt& loop, Scope* around, const Value& over, int depth);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Scope* NewScope(Scope* around);
  absl::StatusOr<std::string> Capture(const Block& block, Scope* scope);
  absl::StatusOr<Flow> Execute(const Block& block, Scope* scope);
  absl::StatusOr<Flow> Execute(const Stmt& stmt, Scope* scope);
  absl::StatusOr<Flow> If(const Stmt& stmt, Scope* scope);
  absl::Status Loop(const Stmt& stmt, Scope* around, const Value& over, int depth);
  absl::Status SetFrom(const Stmt& stmt, Scope* scope);
  absl::Status Call(const Stmt& stmt, Scope* scope);
  absl::Status Assign(const Target& target, const Value& value, Scope* scope);
  absl::Status Print(const Value& value);

  absl::StatusOr<Value> Evaluate(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> Compute(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> ComputeParts(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> ComputeDict(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> ComputeSlice(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> ComputeCompare(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> ComputeConcat(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> ComputeFilter(const Expr& expr, const Value& of, Scope* scope);
  absl::StatusOr<Value> Sign(const Expr& expr, const Value& operand);
  absl::StatusOr<Value> Lookup(absl::string_view name, Scope* scope);
  absl::StatusOr<Arguments> EvaluateArguments(const CallArguments& call, Scope* scope);
  // Through every filter of a chain whose innermost part is a block's text.
  absl::StatusOr<Value> FilterText(const Expr& chain, std::string text, Scope* scope);

  Runtime& runtime_;
  std::deque<Scope> scopes_;  // they live as long as the render: macros keep pointing to theirs
  Scope* root_;
  std::string* out_ = nullptr;
};

}  // namespace tactus::jinja
