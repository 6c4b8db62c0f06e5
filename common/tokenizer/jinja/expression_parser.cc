#include "common/tokenizer/jinja/expression_parser.h"

#include <algorithm>

#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/parser.h"

namespace tactus::jinja {

using Kind = Expr::Kind;

namespace {

int DepthOf(const ExprPtr& expr) { return expr == nullptr ? 0 : expr->depth; }

}  // namespace

absl::Status ExpressionParser::CheckDepth() const {
  if (depth_ <= kMaxTreeDepth) return absl::OkStatus();
  return stream_.Error(absl::StrCat("more than ", kMaxTreeDepth, " expressions or blocks inside each other"));
}

absl::StatusOr<ExprPtr> ExpressionParser::Make(Expr expr) const {
  int deepest = 0;
  for (const ExprPtr& part : expr.parts) deepest = std::max(deepest, DepthOf(part));
  for (const ExprPtr& part : expr.call.positional) deepest = std::max(deepest, DepthOf(part));
  for (const auto& [name, part] : expr.call.named) deepest = std::max(deepest, DepthOf(part));
  deepest = std::max({deepest, DepthOf(expr.call.star), DepthOf(expr.call.star_star)});
  expr.depth = deepest + 1;
  if (expr.depth > kMaxTreeDepth) {
    return SyntaxError(expr.line, absl::StrCat("an expression of more than ", kMaxTreeDepth, " operations in a row"));
  }
  return std::make_unique<const Expr>(std::move(expr));
}

absl::StatusOr<ExprPtr> ExpressionParser::Node(Kind kind, int line, Parts parts, std::string name) const {
  return Make({.kind = kind, .line = line, .name = std::move(name), .parts = std::move(parts)});
}

namespace {

std::vector<ExprPtr> PartsOf(ExprPtr a) {
  std::vector<ExprPtr> parts;
  parts.push_back(std::move(a));
  return parts;
}

std::vector<ExprPtr> PartsOf(ExprPtr a, ExprPtr b) {
  std::vector<ExprPtr> parts = PartsOf(std::move(a));
  parts.push_back(std::move(b));
  return parts;
}

}  // namespace

absl::StatusOr<ExprPtr> ExpressionParser::Expression(bool choice) {
  const Depth guard(depth_);
  RETURN_IF_ERROR(CheckDepth());
  ASSIGN_OR_RETURN(ExprPtr expr, Or());
  while (choice && stream_.IsName("if")) {
    const int line = stream_.Take().line;
    ASSIGN_OR_RETURN(ExprPtr condition, Or());
    std::vector<ExprPtr> parts = PartsOf(std::move(condition), std::move(expr));
    parts.emplace_back();
    if (stream_.TakeName("else")) {
      ASSIGN_OR_RETURN(parts.back(), Expression());
    }
    ASSIGN_OR_RETURN(expr, Node(Kind::kChoice, line, std::move(parts)));
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::Or() {
  ASSIGN_OR_RETURN(ExprPtr left, And());
  while (stream_.IsName("or")) {
    const int line = stream_.Take().line;
    ASSIGN_OR_RETURN(ExprPtr right, And());
    ASSIGN_OR_RETURN(left, Node(Kind::kOr, line, PartsOf(std::move(left), std::move(right))));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::And() {
  ASSIGN_OR_RETURN(ExprPtr left, Not());
  while (stream_.IsName("and")) {
    const int line = stream_.Take().line;
    ASSIGN_OR_RETURN(ExprPtr right, Not());
    ASSIGN_OR_RETURN(left, Node(Kind::kAnd, line, PartsOf(std::move(left), std::move(right))));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::Not() {
  if (!stream_.IsName("not")) return Compare();
  const Depth guard(depth_);
  RETURN_IF_ERROR(CheckDepth());
  const int line = stream_.Take().line;
  ASSIGN_OR_RETURN(ExprPtr operand, Not());
  return Node(Kind::kNot, line, PartsOf(std::move(operand)));
}

absl::StatusOr<ExprPtr> ExpressionParser::Compare() {
  const int line = stream_.now().line;
  ASSIGN_OR_RETURN(ExprPtr first, Sum());
  Expr expr{.kind = Kind::kCompare, .line = line, .parts = PartsOf(std::move(first))};
  while (true) {
    std::string op;
    for (const absl::string_view known : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (op.empty() && stream_.TakeOperator(known)) op = std::string(known);
    }
    if (op.empty() && stream_.TakeName("in")) op = "in";
    if (op.empty() && stream_.IsName("not") && stream_.ahead().kind == TokenKind::kName &&
        stream_.ahead().text == "in") {
      stream_.Take();
      stream_.Take();
      op = "not in";
    }
    if (op.empty()) break;
    expr.ops.push_back(std::move(op));
    ASSIGN_OR_RETURN(expr.parts.emplace_back(), Sum());
  }
  if (expr.ops.empty()) return std::move(expr.parts[0]);
  return Make(std::move(expr));
}

// Operands of the level `next` with operators between them, from the left.
absl::StatusOr<ExprPtr> ExpressionParser::Chain(Level next, std::initializer_list<absl::string_view> ops) {
  ASSIGN_OR_RETURN(ExprPtr left, (this->*next)());
  while (stream_.Is(TokenKind::kOperator) && std::find(ops.begin(), ops.end(), stream_.now().text) != ops.end()) {
    Token op = stream_.Take();
    ASSIGN_OR_RETURN(ExprPtr right, (this->*next)());
    ASSIGN_OR_RETURN(left, Node(Kind::kBinary, op.line, PartsOf(std::move(left), std::move(right)), op.text));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::Sum() { return Chain(&ExpressionParser::Concat, {"+", "-"}); }

absl::StatusOr<ExprPtr> ExpressionParser::Concat() {
  const int line = stream_.now().line;
  ASSIGN_OR_RETURN(ExprPtr first, Product());
  std::vector<ExprPtr> parts = PartsOf(std::move(first));
  while (stream_.TakeOperator("~")) {
    ASSIGN_OR_RETURN(parts.emplace_back(), Product());
  }
  if (parts.size() == 1) return std::move(parts[0]);
  return Node(Kind::kConcat, line, std::move(parts));
}

absl::StatusOr<ExprPtr> ExpressionParser::Product() { return Chain(&ExpressionParser::Power, {"*", "/", "//", "%"}); }

absl::StatusOr<ExprPtr> ExpressionParser::Power() { return Chain(&ExpressionParser::UnaryWithFilters, {"**"}); }

absl::StatusOr<ExprPtr> ExpressionParser::Unary(bool with_filters) {
  const Depth guard(depth_);
  RETURN_IF_ERROR(CheckDepth());
  ExprPtr expr;
  if (stream_.IsOperator("-") || stream_.IsOperator("+")) {
    const Token sign = stream_.Take();
    ASSIGN_OR_RETURN(ExprPtr operand, Unary(false));
    ASSIGN_OR_RETURN(expr, Node(sign.text == "-" ? Kind::kMinus : Kind::kPlus, sign.line, PartsOf(std::move(operand))));
  } else {
    ASSIGN_OR_RETURN(expr, Primary());
  }
  ASSIGN_OR_RETURN(expr, Postfix(std::move(expr)));
  return with_filters ? FiltersAndTests(std::move(expr)) : std::move(expr);
}

absl::StatusOr<ExprPtr> ExpressionParser::Constant(Value value) {
  return Make({.kind = Kind::kConst, .line = stream_.Take().line, .value = std::move(value)});
}

absl::StatusOr<ExprPtr> ExpressionParser::Primary() {
  const Token& token = stream_.now();
  switch (token.kind) {
    case TokenKind::kName:
      return NameOrConstant();
    case TokenKind::kInteger:
      return Constant(token.integer);
    case TokenKind::kReal:
      return Constant(token.real);
    case TokenKind::kText: {
      std::string text = token.text;
      while (stream_.ahead().kind == TokenKind::kText) {
        stream_.Take();
        text += stream_.now().text;
      }
      return Constant(std::move(text));
    }
    default:
      break;
  }
  if (stream_.IsOperator("[")) return List();
  if (stream_.IsOperator("{")) return Dict();
  if (!stream_.TakeOperator("(")) return stream_.Unexpected("an expression");
  ASSIGN_OR_RETURN(ExprPtr expr, Tuple(/*choice=*/true, /*may_be_empty=*/true));
  RETURN_IF_ERROR(stream_.ExpectOperator(")"));
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::NameOrConstant() {
  const std::string& name = stream_.now().text;
  if (name == "true" || name == "True") return Constant(true);
  if (name == "false" || name == "False") return Constant(false);
  if (name == "none" || name == "None") return Constant(None{});
  Token token = stream_.Take();
  return Node(Kind::kName, token.line, {}, std::move(token.text));
}

absl::StatusOr<ExprPtr> ExpressionParser::Tuple(bool choice, bool may_be_empty) {
  const int line = stream_.now().line;
  const auto at_end = [&] {
    return stream_.Is(TokenKind::kVariableEnd) || stream_.Is(TokenKind::kBlockEnd) || stream_.IsOperator(")");
  };
  std::vector<ExprPtr> parts;
  bool tuple = false;
  while (!at_end()) {
    ASSIGN_OR_RETURN(parts.emplace_back(), Expression(choice));
    if (!stream_.TakeOperator(",")) break;
    tuple = true;
  }
  if (!tuple && !parts.empty()) return std::move(parts[0]);
  if (!tuple && !may_be_empty) return stream_.Unexpected("an expression");
  return Node(Kind::kTuple, line, std::move(parts));
}

absl::StatusOr<ExprPtr> ExpressionParser::List() {
  const int line = stream_.Take().line;
  std::vector<ExprPtr> parts;
  while (!stream_.IsOperator("]")) {
    if (!parts.empty()) RETURN_IF_ERROR(stream_.ExpectOperator(","));
    if (stream_.IsOperator("]")) break;
    ASSIGN_OR_RETURN(parts.emplace_back(), Expression());
  }
  stream_.Take();
  return Node(Kind::kList, line, std::move(parts));
}

absl::StatusOr<ExprPtr> ExpressionParser::Dict() {
  const int line = stream_.Take().line;
  std::vector<ExprPtr> parts;
  while (!stream_.IsOperator("}")) {
    if (!parts.empty()) RETURN_IF_ERROR(stream_.ExpectOperator(","));
    if (stream_.IsOperator("}")) break;
    ASSIGN_OR_RETURN(parts.emplace_back(), Expression());
    RETURN_IF_ERROR(stream_.ExpectOperator(":"));
    ASSIGN_OR_RETURN(parts.emplace_back(), Expression());
  }
  stream_.Take();
  return Node(Kind::kDict, line, std::move(parts));
}

absl::StatusOr<ExprPtr> ExpressionParser::Postfix(ExprPtr of) {
  while (true) {
    if (stream_.IsOperator(".") || stream_.IsOperator("[")) {
      ASSIGN_OR_RETURN(of, Subscript(std::move(of)));
    } else if (stream_.IsOperator("(")) {
      ASSIGN_OR_RETURN(of, Call(std::move(of)));
    } else {
      return of;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::Subscript(ExprPtr of) {
  const Token opening = stream_.Take();
  if (opening.text == ".") {
    if (stream_.Is(TokenKind::kInteger)) {
      ASSIGN_OR_RETURN(ExprPtr index, Constant(stream_.now().integer));
      return Node(Kind::kItem, opening.line, PartsOf(std::move(of), std::move(index)));
    }
    ASSIGN_OR_RETURN(std::string name, stream_.ExpectName());
    return Node(Kind::kAttr, opening.line, PartsOf(std::move(of)), std::move(name));
  }
  ExprPtr start;
  if (!stream_.IsOperator(":")) {
    ASSIGN_OR_RETURN(start, Tuple());
  }
  if (stream_.IsOperator(":")) return Slice(std::move(of), std::move(start));
  RETURN_IF_ERROR(stream_.ExpectOperator("]"));
  return Node(Kind::kItem, opening.line, PartsOf(std::move(of), std::move(start)));
}

absl::StatusOr<ExprPtr> ExpressionParser::Slice(ExprPtr of, ExprPtr start) {
  const int line = stream_.now().line;
  std::vector<ExprPtr> parts = PartsOf(std::move(of), std::move(start));
  while (parts.size() < 4) {
    parts.emplace_back();
    if (!stream_.TakeOperator(":") || stream_.IsOperator(":") || stream_.IsOperator("]")) continue;
    ASSIGN_OR_RETURN(parts.back(), Expression());
  }
  RETURN_IF_ERROR(stream_.ExpectOperator("]"));
  return Node(Kind::kSlice, line, std::move(parts));
}

absl::StatusOr<ExprPtr> ExpressionParser::FiltersAndTests(ExprPtr of) {
  while (true) {
    if (stream_.TakeOperator("|")) {
      ASSIGN_OR_RETURN(of, Filter(std::move(of)));
    } else if (stream_.IsName("is")) {
      ASSIGN_OR_RETURN(of, Test(std::move(of)));
    } else if (stream_.IsOperator("(")) {
      ASSIGN_OR_RETURN(of, Call(std::move(of)));
    } else {
      return of;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::Filters(ExprPtr of, bool first_without_pipe) {
  if (first_without_pipe) {
    ASSIGN_OR_RETURN(of, Filter(std::move(of)));
  }
  while (stream_.TakeOperator("|")) {
    ASSIGN_OR_RETURN(of, Filter(std::move(of)));
  }
  return of;
}

absl::StatusOr<std::string> ExpressionParser::DottedName() {
  ASSIGN_OR_RETURN(std::string name, stream_.ExpectName());
  while (stream_.TakeOperator(".")) {
    ASSIGN_OR_RETURN(const std::string part, stream_.ExpectName());
    absl::StrAppend(&name, ".", part);
  }
  return name;
}

absl::StatusOr<ExprPtr> ExpressionParser::Filter(ExprPtr of) {
  Expr expr{.kind = Kind::kFilter, .line = stream_.now().line, .parts = PartsOf(std::move(of))};
  ASSIGN_OR_RETURN(expr.name, DottedName());
  if (stream_.IsOperator("(")) {
    ASSIGN_OR_RETURN(expr.call, Arguments());
  }
  return Make(std::move(expr));
}

absl::StatusOr<ExprPtr> ExpressionParser::Test(ExprPtr of) {
  Expr expr{.kind = Kind::kTest, .line = stream_.Take().line, .parts = PartsOf(std::move(of))};
  const int line = expr.line;
  const bool negated = stream_.TakeName("not");
  ASSIGN_OR_RETURN(expr.name, DottedName());
  const auto starts_argument = [&] {
    if (stream_.Is(TokenKind::kName)) {
      return !stream_.IsName("else") && !stream_.IsName("or") && !stream_.IsName("and");
    }
    return stream_.Is(TokenKind::kText) || stream_.Is(TokenKind::kInteger) || stream_.Is(TokenKind::kReal) ||
           stream_.IsOperator("[") || stream_.IsOperator("{");
  };
  if (stream_.IsOperator("(")) {
    ASSIGN_OR_RETURN(expr.call, Arguments());
  } else if (stream_.IsName("is")) {
    return stream_.Error("tests cannot be chained with is");
  } else if (starts_argument()) {
    ASSIGN_OR_RETURN(ExprPtr argument, Primary());
    ASSIGN_OR_RETURN(expr.call.positional.emplace_back(), Postfix(std::move(argument)));
  }
  ASSIGN_OR_RETURN(ExprPtr test, Make(std::move(expr)));
  return negated ? Node(Kind::kNot, line, PartsOf(std::move(test))) : std::move(test);
}

absl::StatusOr<ExprPtr> ExpressionParser::Call(ExprPtr of) {
  Expr expr{.kind = Kind::kCall, .line = stream_.now().line, .parts = PartsOf(std::move(of))};
  ASSIGN_OR_RETURN(expr.call, Arguments());
  return Make(std::move(expr));
}

absl::StatusOr<CallArguments> ExpressionParser::Arguments() {
  RETURN_IF_ERROR(stream_.ExpectOperator("("));
  CallArguments call;
  const auto misplaced = [&] { return stream_.Error("this argument cannot stand behind those before it"); };
  bool first = true;
  while (!stream_.IsOperator(")")) {
    if (!std::exchange(first, false)) RETURN_IF_ERROR(stream_.ExpectOperator(","));
    if (stream_.IsOperator(")")) break;
    if (stream_.TakeOperator("*")) {
      if (call.star != nullptr || call.star_star != nullptr) return misplaced();
      ASSIGN_OR_RETURN(call.star, Expression());
    } else if (stream_.TakeOperator("**")) {
      if (call.star_star != nullptr) return misplaced();
      ASSIGN_OR_RETURN(call.star_star, Expression());
    } else if (stream_.Is(TokenKind::kName) && stream_.ahead().kind == TokenKind::kOperator &&
               stream_.ahead().text == "=") {
      if (call.star_star != nullptr) return misplaced();
      std::string name = stream_.Take().text;
      stream_.Take();
      ASSIGN_OR_RETURN(ExprPtr value, Expression());
      call.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (call.star != nullptr || call.star_star != nullptr || !call.named.empty()) return misplaced();
      ASSIGN_OR_RETURN(call.positional.emplace_back(), Expression());
    }
  }
  stream_.Take();
  return call;
}

}  // namespace tactus::jinja
