// The half of the renderer that computes expressions.
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/renderer.h"

namespace tactus::jinja {

using Kind = Expr::Kind;

absl::StatusOr<Value> Renderer::Lookup(absl::string_view name, Scope* scope) {
  for (; scope != nullptr; scope = scope->around) {
    RETURN_IF_ERROR(runtime_.Charge(8 * scope->names.size()));
    for (const auto& [known, value] : scope->names) {
      if (known == name) return value;
    }
  }
  if (const Builtin global = FindGlobal(name)) return Value(runtime_.New<Function>(Value(), global));
  return Value::MissingBecause(absl::StrCat("'", name.substr(0, 100), "' is undefined"));
}

absl::StatusOr<Arguments> Renderer::EvaluateArguments(const CallArguments& call, Scope* scope) {
  Arguments arguments;
  for (const ExprPtr& expr : call.positional) {
    ASSIGN_OR_RETURN(arguments.positional.emplace_back(), Evaluate(*expr, scope));
  }
  for (const auto& [name, expr] : call.named) {
    ASSIGN_OR_RETURN(Value value, Evaluate(*expr, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  if (call.star != nullptr) {
    ASSIGN_OR_RETURN(const Value more, Evaluate(*call.star, scope));
    ASSIGN_OR_RETURN(const std::vector<Value> items, runtime_.Iterate(more));
    arguments.positional.insert(arguments.positional.end(), items.begin(), items.end());
  }
  if (call.star_star != nullptr) {
    ASSIGN_OR_RETURN(const Value more, Evaluate(*call.star_star, scope));
    if (more.dict() == nullptr) return CannotUse(more, "behind **");
    RETURN_IF_ERROR(runtime_.Charge(more.size() * 2 * sizeof(Value)));
    for (const auto& [key, value] : more.dict()->items) {
      ASSIGN_OR_RETURN(std::string name, TextArgument(key));
      arguments.named.emplace_back(std::move(name), value);
    }
  }
  return arguments;
}

absl::StatusOr<Value> Renderer::Evaluate(const Expr& expr, Scope* scope) {
  const Runtime::Depth depth(runtime_);
  RETURN_IF_ERROR(depth.Check());
  RETURN_IF_ERROR(runtime_.Charge(32));
  switch (expr.kind) {
    case Kind::kConst:
      return expr.value;
    case Kind::kName:
      return Lookup(expr.name, scope);
    case Kind::kTuple:
    case Kind::kList:
      return ComputeParts(expr, scope);
    case Kind::kDict:
      return ComputeDict(expr, scope);
    case Kind::kSlice:
      return ComputeSlice(expr, scope);
    case Kind::kCompare:
      return ComputeCompare(expr, scope);
    case Kind::kConcat:
      return ComputeConcat(expr, scope);
    default:
      return Compute(expr, scope);
  }
}

// Of an expression with a first operand that is always needed.
absl::StatusOr<Value> Renderer::Compute(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(const Value first, Evaluate(*expr.parts[0], scope));
  switch (expr.kind) {
    case Kind::kAttr:
      return runtime_.Attribute(first, expr.name);
    case Kind::kFilter:
      return ComputeFilter(expr, first, scope);
    case Kind::kNot:
      return Value(!IsTrue(first));
    case Kind::kMinus:
    case Kind::kPlus:
      return Sign(expr, first);
    case Kind::kAnd:
      return IsTrue(first) ? Evaluate(*expr.parts[1], scope) : first;
    case Kind::kOr:
      return IsTrue(first) ? first : Evaluate(*expr.parts[1], scope);
    case Kind::kChoice: {
      const ExprPtr& chosen = expr.parts[IsTrue(first) ? 1 : 2];
      return chosen != nullptr ? Evaluate(*chosen, scope) : Value::MissingBecause("an if without an else gave nothing");
    }
    case Kind::kItem: {
      ASSIGN_OR_RETURN(const Value key, Evaluate(*expr.parts[1], scope));
      return runtime_.Item(first, key);
    }
    case Kind::kBinary: {
      ASSIGN_OR_RETURN(const Value second, Evaluate(*expr.parts[1], scope));
      return runtime_.Binary(expr.name, first, second);
    }
    case Kind::kCall: {
      ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.call, scope));
      return runtime_.Call(first, arguments);
    }
    case Kind::kTest: {
      ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.call, scope));
      ASSIGN_OR_RETURN(const bool holds, runtime_.Test(expr.name, first, arguments));
      return Value(holds);
    }
    default:
      return TypeError("an expression of an unknown kind");
  }
}

absl::StatusOr<Value> Renderer::Sign(const Expr& expr, const Value& operand) {
  if (!operand.number()) return CannotUse(operand, "behind a sign");
  if (expr.kind == Kind::kPlus) return operand.whole() ? Value(*operand.whole()) : operand;
  if (operand.real() != nullptr) return Value(-*operand.real());
  return runtime_.Binary("-", Value(0), operand);
}

absl::StatusOr<Value> Renderer::ComputeFilter(const Expr& expr, const Value& of, Scope* scope) {
  ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expr.call, scope));
  return runtime_.Filter(expr.name, of, arguments);
}

absl::StatusOr<Value> Renderer::FilterText(const Expr& chain, std::string text, Scope* scope) {
  if (chain.parts[0] == nullptr) return ComputeFilter(chain, Value(std::move(text)), scope);
  ASSIGN_OR_RETURN(const Value of, FilterText(*chain.parts[0], std::move(text), scope));
  return ComputeFilter(chain, of, scope);
}

absl::StatusOr<Value> Renderer::ComputeParts(const Expr& expr, Scope* scope) {
  std::vector<Value> items;
  for (const ExprPtr& part : expr.parts) {
    ASSIGN_OR_RETURN(items.emplace_back(), Evaluate(*part, scope));
  }
  return runtime_.NewList(std::move(items), expr.kind == Kind::kTuple ? ListForm::kTuple : ListForm::kList);
}

absl::StatusOr<Value> Renderer::ComputeDict(const Expr& expr, Scope* scope) {
  std::vector<std::pair<Value, Value>> items;
  for (size_t i = 0; i < expr.parts.size(); i += 2) {
    ASSIGN_OR_RETURN(Value key, Evaluate(*expr.parts[i], scope));
    ASSIGN_OR_RETURN(Value value, Evaluate(*expr.parts[i + 1], scope));
    bool known = false;
    for (auto& [name, old] : items) {
      ASSIGN_OR_RETURN(known, Equal(name, key, runtime_.budget()));
      if (!known) continue;
      old = std::move(value);
      break;
    }
    if (!known) items.emplace_back(std::move(key), std::move(value));
  }
  return runtime_.NewDict(std::move(items));
}

absl::StatusOr<Value> Renderer::ComputeSlice(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(const Value of, Evaluate(*expr.parts[0], scope));
  std::optional<Value> ends[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.parts[i + 1] == nullptr) continue;
    ASSIGN_OR_RETURN(ends[i], Evaluate(*expr.parts[i + 1], scope));
  }
  return runtime_.Slice(of, ends[0], ends[1], ends[2]);
}

absl::StatusOr<Value> Renderer::ComputeCompare(const Expr& expr, Scope* scope) {
  ASSIGN_OR_RETURN(Value left, Evaluate(*expr.parts[0], scope));
  for (size_t i = 0; i < expr.ops.size(); ++i) {
    const std::string& op = expr.ops[i];
    ASSIGN_OR_RETURN(Value right, Evaluate(*expr.parts[i + 1], scope));
    bool holds = false;
    if (op == "==" || op == "!=") {
      ASSIGN_OR_RETURN(holds, Equal(left, right, runtime_.budget()));
      holds = holds == (op == "==");
    } else if (op == "in" || op == "not in") {
      ASSIGN_OR_RETURN(holds, Contains(right, left, runtime_.budget()));
      holds = holds == (op == "in");
    } else {
      if (left.is_undefined() || right.is_undefined()) return CannotUse(left.is_undefined() ? left : right, "");
      ASSIGN_OR_RETURN(const std::optional<int> order, Compare(left, right, runtime_.budget()));
      holds = order.has_value() && (op == "<"    ? *order < 0
                                    : op == "<=" ? *order <= 0
                                    : op == ">"  ? *order > 0
                                                 : *order >= 0);
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

absl::StatusOr<Value> Renderer::ComputeConcat(const Expr& expr, Scope* scope) {
  std::string out;
  for (const ExprPtr& part : expr.parts) {
    ASSIGN_OR_RETURN(const Value value, Evaluate(*part, scope));
    RETURN_IF_ERROR(AppendText(value, runtime_.budget(), out));
  }
  return Value(std::move(out));
}

}  // namespace tactus::jinja
