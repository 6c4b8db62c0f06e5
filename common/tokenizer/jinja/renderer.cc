#include "common/tokenizer/jinja/renderer.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/lexer.h"
#include "common/tokenizer/jinja/loop.h"

namespace tactus::jinja {
namespace {

// Where it happened, once: the innermost statement says it.
absl::Status At(int line, const absl::Status& status) {
  return absl::StartsWith(status.message(), "line ") ? status : SyntaxError(line, status.message());
}

}  // namespace

void Scope::Set(absl::string_view name, Value value) {
  for (auto& [known, old] : names) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  names.emplace_back(name, std::move(value));
}

Renderer::Renderer(Runtime& runtime, std::vector<std::pair<absl::string_view, Value>> given)
    : runtime_(runtime), root_(NewScope(nullptr)) {
  root_->names = std::move(given);
}

Scope* Renderer::NewScope(Scope* around) { return &scopes_.emplace_back(Scope{around, {}}); }

absl::StatusOr<std::string> Renderer::Run(const Block& block) {
  Scope* const top = NewScope(root_);
  return Capture(block, top);
}

absl::StatusOr<std::string> Renderer::Capture(const Block& block, Scope* scope) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  const absl::StatusOr<Flow> flow = Execute(block, scope);
  out_ = outer;
  RETURN_IF_ERROR(flow.status());
  return text;
}

absl::StatusOr<Renderer::Flow> Renderer::Execute(const Block& block, Scope* scope) {
  for (const std::unique_ptr<const Stmt>& stmt : block) {
    absl::StatusOr<Flow> flow = Execute(*stmt, scope);
    if (!flow.ok()) return At(stmt->line, flow.status());
    if (*flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

absl::StatusOr<Renderer::Flow> Renderer::Execute(const Stmt& stmt, Scope* scope) {
  const Runtime::Depth depth(runtime_);
  RETURN_IF_ERROR(depth.Check());
  RETURN_IF_ERROR(runtime_.Charge(32));
  switch (stmt.kind) {
    case Stmt::Kind::kText: {
      RETURN_IF_ERROR(runtime_.Charge(stmt.text.size()));
      *out_ += stmt.text;
      return Flow::kNext;
    }
    case Stmt::Kind::kOutput: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*stmt.expr, scope));
      RETURN_IF_ERROR(Print(value));
      return Flow::kNext;
    }
    case Stmt::Kind::kIf:
      return If(stmt, scope);
    case Stmt::Kind::kFor: {
      ASSIGN_OR_RETURN(const Value over, Evaluate(*stmt.expr, scope));
      RETURN_IF_ERROR(Loop(stmt, scope, over, 0));
      return Flow::kNext;
    }
    case Stmt::Kind::kSet:
    case Stmt::Kind::kSetBlock: {
      RETURN_IF_ERROR(SetFrom(stmt, scope));
      return Flow::kNext;
    }
    case Stmt::Kind::kMacro: {
      scope->Set(stmt.macro->name, Value(runtime_.New<Macro>(*this, *stmt.macro, scope)));
      return Flow::kNext;
    }
    case Stmt::Kind::kCallBlock: {
      RETURN_IF_ERROR(Call(stmt, scope));
      return Flow::kNext;
    }
    case Stmt::Kind::kFilterBlock: {
      ASSIGN_OR_RETURN(std::string text, Capture(stmt.body, NewScope(scope)));
      ASSIGN_OR_RETURN(const Value value, FilterText(*stmt.expr, std::move(text), scope));
      RETURN_IF_ERROR(Print(value));
      return Flow::kNext;
    }
    case Stmt::Kind::kWith: {
      Scope* const inner = NewScope(scope);
      for (const auto& [target, expr] : stmt.assignments) {
        ASSIGN_OR_RETURN(const Value value, Evaluate(*expr, scope));
        RETURN_IF_ERROR(Assign(target, value, inner));
      }
      return Execute(stmt.body, inner);
    }
    case Stmt::Kind::kScope:
      return Execute(stmt.body, NewScope(scope));
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

absl::Status Renderer::Print(const Value& value) { return AppendText(value, runtime_.budget(), *out_); }

absl::StatusOr<Renderer::Flow> Renderer::If(const Stmt& stmt, Scope* scope) {
  for (const auto& [condition, body] : stmt.branches) {
    if (condition != nullptr) {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*condition, scope));
      if (!IsTrue(value)) continue;
    }
    return Execute(body, scope);
  }
  return Flow::kNext;
}

absl::Status Renderer::Loop(const Stmt& stmt, Scope* around, const Value& over, int depth) {
  ASSIGN_OR_RETURN(std::vector<Value> items, runtime_.Iterate(over));
  if (stmt.filter != nullptr) {
    std::vector<Value> kept;
    for (Value& item : items) {
      Scope* const scope = NewScope(around);
      RETURN_IF_ERROR(Assign(stmt.target, item, scope));
      ASSIGN_OR_RETURN(const Value wanted, Evaluate(*stmt.filter, scope));
      if (IsTrue(wanted)) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) return Execute(stmt.otherwise, NewScope(around)).status();
  RETURN_IF_ERROR(runtime_.Charge(sizeof(LoopState)));
  auto* const state = runtime_.New<LoopState>(*this, stmt, around, items, depth);
  absl::Status status;
  for (size_t i = 0; i < items.size() && status.ok(); ++i) {
    status = runtime_.Charge(sizeof(Scope) + 4 * sizeof(Value));
    if (!status.ok()) break;
    state->MoveTo(i);
    Scope* const scope = NewScope(around);
    scope->Set("loop", Value(state));
    status = Assign(stmt.target, items[i], scope);
    if (!status.ok()) break;
    const absl::StatusOr<Flow> flow = Execute(stmt.body, scope);
    status = flow.status();
    if (flow.ok() && *flow == Flow::kBreak) break;
  }
  state->Finish();
  return status;
}

absl::StatusOr<Value> Renderer::RunLoop(const Stmt& loop, Scope* around, const Value& over, int depth) {
  std::string text;
  std::string* const outer = std::exchange(out_, &text);
  const absl::Status status = Loop(loop, around, over, depth);
  out_ = outer;
  RETURN_IF_ERROR(status);
  return Value(std::move(text));
}

absl::Status Renderer::SetFrom(const Stmt& stmt, Scope* scope) {
  Value value;
  if (stmt.kind == Stmt::Kind::kSet) {
    ASSIGN_OR_RETURN(value, Evaluate(*stmt.expr, scope));
    return Assign(stmt.target, value, scope);
  }
  ASSIGN_OR_RETURN(std::string text, Capture(stmt.body, NewScope(scope)));
  if (stmt.expr == nullptr) return Assign(stmt.target, Value(std::move(text)), scope);
  ASSIGN_OR_RETURN(value, FilterText(*stmt.expr, std::move(text), scope));
  return Assign(stmt.target, value, scope);
}

absl::Status Renderer::Assign(const Target& target, const Value& value, Scope* scope) {
  if (!target.attribute.empty()) {
    ASSIGN_OR_RETURN(const Value holder, Lookup(target.names[0], scope));
    if (holder.object() == nullptr || holder.object()->type_name() != "Namespace") {
      return TypeError(absl::StrCat("'", target.names[0], "' is no namespace: its attributes cannot be set"));
    }
    static_cast<Namespace*>(holder.object())->Set(target.attribute, value);
    return runtime_.Charge(64 + target.attribute.size());
  }
  if (!target.unpack) {
    scope->Set(target.names[0], value);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<Value> parts, runtime_.Iterate(value));
  if (parts.size() != target.names.size()) {
    return TypeError(absl::StrCat("expected ", target.names.size(), " values to unpack, got ", parts.size()));
  }
  for (size_t i = 0; i < parts.size(); ++i) scope->Set(target.names[i], parts[i]);
  return absl::OkStatus();
}

absl::Status Renderer::Call(const Stmt& stmt, Scope* scope) {
  ASSIGN_OR_RETURN(const Value callee, Evaluate(*stmt.expr->parts[0], scope));
  ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(stmt.expr->call, scope));
  RETURN_IF_ERROR(runtime_.Charge(sizeof(Macro)));
  arguments.named.emplace_back("caller", Value(runtime_.New<Macro>(*this, *stmt.macro, scope)));
  ASSIGN_OR_RETURN(const Value printed, runtime_.Call(callee, arguments));
  return Print(printed);
}

absl::StatusOr<Value> Renderer::CallMacro(const MacroBody& macro, Scope* around, const Value& caller,
                                          const Arguments& arguments) {
  RETURN_IF_ERROR(runtime_.ChargeFor(caller, arguments));
  const size_t count = macro.parameters.size(), given = std::min(arguments.positional.size(), count);
  Scope* const scope = NewScope(around);
  scope->Set("caller", caller);
  std::vector<std::pair<std::string, Value>> rest = arguments.named;
  for (size_t i = 0; i < count; ++i) {
    const std::string& name = macro.parameters[i];
    const auto named = std::find_if(rest.begin(), rest.end(), [&](const auto& one) { return one.first == name; });
    Value value = Value::MissingBecause(absl::StrCat("parameter '", name, "' was not provided"));
    const size_t defaults_from = count - macro.defaults.size();
    if (i < given) {
      value = arguments.positional[i];
    } else if (named != rest.end()) {
      value = named->second;
      rest.erase(named);
    } else if (name == "caller" && !caller.is_undefined()) {
      value = caller;
    } else if (i >= defaults_from) {
      ASSIGN_OR_RETURN(value, Evaluate(*macro.defaults[i - defaults_from], scope));
    }
    scope->Set(name, std::move(value));
  }
  if (!rest.empty() && !macro.uses_kwargs) {
    return TypeError(absl::StrCat("macro '", macro.name, "' has no parameter '", rest[0].first, "'"));
  }
  if (arguments.positional.size() > count && !macro.uses_varargs) {
    return TypeError(absl::StrCat("macro '", macro.name, "' takes at most ", count, " arguments"));
  }
  if (macro.uses_kwargs) {
    std::vector<std::pair<Value, Value>> members;
    for (auto& [name, value] : rest) members.emplace_back(Value(name), std::move(value));
    ASSIGN_OR_RETURN(Value kwargs, runtime_.NewDict(std::move(members)));
    scope->Set("kwargs", std::move(kwargs));
  }
  if (macro.uses_varargs) {
    ASSIGN_OR_RETURN(Value varargs, runtime_.NewList({arguments.positional.begin() + static_cast<ptrdiff_t>(given),
                                                      arguments.positional.end()},
                                                     ListForm::kTuple));
    scope->Set("varargs", std::move(varargs));
  }
  ASSIGN_OR_RETURN(std::string text, Capture(macro.body, scope));
  return Value(std::move(text));
}

}  // namespace tactus::jinja
