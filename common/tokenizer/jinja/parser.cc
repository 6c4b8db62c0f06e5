#include "common/tokenizer/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/expression_parser.h"

namespace tactus::jinja {
namespace {

using Kind = Stmt::Kind;
using StmtPtr = std::unique_ptr<const Stmt>;
using Names = std::initializer_list<absl::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : stream_(std::move(tokens)), expressions_(stream_) {}

  absl::StatusOr<Block> Template() { return Body({}); }

 private:
  using Depth = ExpressionParser::Depth;

  // Up to a tag that starts with one of these names, which is the next token then.
  absl::StatusOr<Block> Body(Names ends) {
    const Depth guard(expressions_.depth());
    RETURN_IF_ERROR(expressions_.CheckDepth());
    Block body;
    while (true) {
      if (stream_.Is(TokenKind::kEnd)) {
        if (ends.size() == 0) return body;
        return stream_.Unexpected(absl::StrCat("{% ", *(ends.end() - 1), " %}"));
      }
      if (stream_.Is(TokenKind::kData)) {
        Token data = stream_.Take();
        body.push_back(Own({.kind = Kind::kText, .line = data.line, .text = std::move(data.text)}));
        continue;
      }
      const Token opening = stream_.Take();
      if (opening.kind == TokenKind::kVariableBegin) {
        Stmt stmt{.kind = Kind::kOutput, .line = opening.line};
        ASSIGN_OR_RETURN(stmt.expr, expressions_.Tuple());
        RETURN_IF_ERROR(stream_.Expect(TokenKind::kVariableEnd, "'}}'"));
        body.push_back(Own(std::move(stmt)));
        continue;
      }
      if (std::find_if(ends.begin(), ends.end(), [&](absl::string_view end) { return stream_.IsName(end); }) !=
          ends.end()) {
        return body;
      }
      ASSIGN_OR_RETURN(body.emplace_back(), Statement());
      RETURN_IF_ERROR(CloseTag());
    }
  }

  // The rest of a tag, what stands up to {% end %}, and that word. The tag's end is left to the caller.
  absl::StatusOr<Block> BodyUpTo(absl::string_view end) {
    RETURN_IF_ERROR(CloseTag());
    ASSIGN_OR_RETURN(Block body, Body({end}));
    stream_.Take();
    return body;
  }

  // The same of a block that no break leaves: its text is caught, or it is a function of its own in `transformers`.
  absl::StatusOr<Block> IsolatedBody(absl::string_view end) {
    const int loops = std::exchange(loops_, 0);
    absl::StatusOr<Block> body = BodyUpTo(end);
    loops_ = loops;
    return body;
  }

  static StmtPtr Own(Stmt stmt) { return std::make_unique<const Stmt>(std::move(stmt)); }
  absl::Status CloseTag() { return stream_.Expect(TokenKind::kBlockEnd, "'%}'"); }

  absl::StatusOr<StmtPtr> Statement() {
    using Reader = absl::Status (Parser::*)(Stmt&);
    struct Known {
      absl::string_view name;
      Kind kind;
      Reader read;
    };
    static constexpr Known kKnown[] = {
        {"if", Kind::kIf, &Parser::If},
        {"for", Kind::kFor, &Parser::For},
        {"set", Kind::kSet, &Parser::Set},
        {"macro", Kind::kMacro, &Parser::Macro},
        {"call", Kind::kCallBlock, &Parser::CallBlock},
        {"filter", Kind::kFilterBlock, &Parser::FilterBlock},
        {"with", Kind::kWith, &Parser::With},
        {"generation", Kind::kScope, &Parser::Generation},
        {"block", Kind::kScope, &Parser::NamedBlock},
        {"break", Kind::kBreak, &Parser::LeaveLoop},
        {"continue", Kind::kContinue, &Parser::LeaveLoop},
    };
    for (const Known& known : kKnown) {
      if (!stream_.IsName(known.name)) continue;
      Stmt stmt{.kind = known.kind, .line = stream_.Take().line};
      RETURN_IF_ERROR((this->*known.read)(stmt));
      return Own(std::move(stmt));
    }
    return stream_.Unexpected("a statement that stands alone in a chat template");
  }

  absl::Status If(Stmt& stmt) {
    while (true) {
      ExprPtr condition;
      ASSIGN_OR_RETURN(condition, expressions_.Tuple(/*choice=*/false));
      RETURN_IF_ERROR(CloseTag());
      ASSIGN_OR_RETURN(Block body, Body({"elif", "else", "endif"}));
      stmt.branches.emplace_back(std::move(condition), std::move(body));
      if (stream_.TakeName("endif")) return absl::OkStatus();
      if (stream_.TakeName("elif")) continue;
      stream_.Take();
      ASSIGN_OR_RETURN(Block otherwise, BodyUpTo("endif"));
      stmt.branches.emplace_back(nullptr, std::move(otherwise));
      return absl::OkStatus();
    }
  }

  absl::Status For(Stmt& stmt) {
    ASSIGN_OR_RETURN(stmt.target, ReadTarget(/*attributes=*/false));
    if (!stream_.TakeName("in")) return stream_.Unexpected("'in'");
    ASSIGN_OR_RETURN(stmt.expr, expressions_.Tuple(/*choice=*/false));
    if (stream_.TakeName("if")) {
      ASSIGN_OR_RETURN(stmt.filter, expressions_.Expression());
    }
    stmt.recursive = stream_.TakeName("recursive");
    RETURN_IF_ERROR(CloseTag());
    ++loops_;
    absl::StatusOr<Block> body = Body({"else", "endfor"});
    --loops_;
    RETURN_IF_ERROR(body.status());
    stmt.body = *std::move(body);
    if (stream_.TakeName("endfor")) return absl::OkStatus();
    stream_.Take();
    ASSIGN_OR_RETURN(stmt.otherwise, BodyUpTo("endfor"));
    return absl::OkStatus();
  }

  absl::StatusOr<Target> ReadTarget(bool attributes) {
    Target target;
    const bool bracket = stream_.TakeOperator("(");
    do {
      if (!target.names.empty()) {
        target.unpack = true;
        if (!stream_.Is(TokenKind::kName)) break;  // behind a last comma
      }
      ASSIGN_OR_RETURN(target.names.emplace_back(), stream_.ExpectName());
    } while (stream_.TakeOperator(","));
    if (bracket) RETURN_IF_ERROR(stream_.ExpectOperator(")"));
    if (attributes && target.names.size() == 1 && stream_.TakeOperator(".")) {
      ASSIGN_OR_RETURN(target.attribute, stream_.ExpectName());
    }
    for (const std::string& name : target.names) {
      for (const absl::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
        if (name == reserved) return stream_.Error(absl::StrCat("cannot assign to ", name));
      }
    }
    return target;
  }

  absl::Status Set(Stmt& stmt) {
    ASSIGN_OR_RETURN(stmt.target, ReadTarget(/*attributes=*/true));
    if (stream_.TakeOperator("=")) {
      ASSIGN_OR_RETURN(stmt.expr, expressions_.Tuple());
      return absl::OkStatus();
    }
    stmt.kind = Kind::kSetBlock;
    ASSIGN_OR_RETURN(stmt.expr, expressions_.Filters(nullptr, /*first_without_pipe=*/false));
    ASSIGN_OR_RETURN(stmt.body, IsolatedBody("endset"));
    return absl::OkStatus();
  }

  absl::Status Signature(MacroBody& macro) {
    RETURN_IF_ERROR(stream_.ExpectOperator("("));
    while (!stream_.IsOperator(")")) {
      if (!macro.parameters.empty()) RETURN_IF_ERROR(stream_.ExpectOperator(","));
      ASSIGN_OR_RETURN(macro.parameters.emplace_back(), stream_.ExpectName());
      if (stream_.TakeOperator("=")) {
        ASSIGN_OR_RETURN(macro.defaults.emplace_back(), expressions_.Expression());
      } else if (!macro.defaults.empty()) {
        return stream_.Error("a parameter without a default stands behind one that has one");
      }
    }
    stream_.Take();
    return absl::OkStatus();
  }

  absl::Status ReadMacroBody(std::shared_ptr<MacroBody> macro, absl::string_view end, Stmt& stmt) {
    const size_t start = stream_.place();
    ASSIGN_OR_RETURN(macro->body, IsolatedBody(end));
    macro->uses_varargs = stream_.HasName(start, "varargs");
    macro->uses_kwargs = stream_.HasName(start, "kwargs");
    stmt.macro = std::move(macro);
    return absl::OkStatus();
  }

  absl::Status Macro(Stmt& stmt) {
    auto macro = std::make_shared<MacroBody>();
    ASSIGN_OR_RETURN(macro->name, stream_.ExpectName());
    RETURN_IF_ERROR(Signature(*macro));
    return ReadMacroBody(std::move(macro), "endmacro", stmt);
  }

  absl::Status CallBlock(Stmt& stmt) {
    auto macro = std::make_shared<MacroBody>();
    macro->name = "caller";
    if (stream_.IsOperator("(")) RETURN_IF_ERROR(Signature(*macro));
    ASSIGN_OR_RETURN(stmt.expr, expressions_.Expression());
    if (stmt.expr->kind != Expr::Kind::kCall) return stream_.Unexpected("a call");
    return ReadMacroBody(std::move(macro), "endcall", stmt);
  }

  absl::Status FilterBlock(Stmt& stmt) {
    ASSIGN_OR_RETURN(stmt.expr, expressions_.Filters(nullptr, /*first_without_pipe=*/true));
    ASSIGN_OR_RETURN(stmt.body, IsolatedBody("endfilter"));
    return absl::OkStatus();
  }

  absl::Status With(Stmt& stmt) {
    while (!stream_.Is(TokenKind::kBlockEnd)) {
      if (!stmt.assignments.empty()) RETURN_IF_ERROR(stream_.ExpectOperator(","));
      auto& [target, value] = stmt.assignments.emplace_back();
      ASSIGN_OR_RETURN(std::string name, stream_.ExpectName());
      target.names.push_back(std::move(name));
      RETURN_IF_ERROR(stream_.ExpectOperator("="));
      ASSIGN_OR_RETURN(value, expressions_.Expression());
    }
    ASSIGN_OR_RETURN(stmt.body, BodyUpTo("endwith"));
    return absl::OkStatus();
  }

  // {% generation %}: around what an assistant says.
  absl::Status Generation(Stmt& stmt) {
    ASSIGN_OR_RETURN(stmt.body, IsolatedBody("endgeneration"));
    return absl::OkStatus();
  }

  absl::Status NamedBlock(Stmt& stmt) {
    ASSIGN_OR_RETURN(const std::string name, stream_.ExpectName());
    while (stream_.TakeName("scoped") || stream_.TakeName("required")) continue;
    ASSIGN_OR_RETURN(stmt.body, IsolatedBody("endblock"));
    stream_.TakeName(name);
    return absl::OkStatus();
  }

  absl::Status LeaveLoop(Stmt&) {
    return loops_ > 0 ? absl::OkStatus() : stream_.Error("break and continue belong in a loop");
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int loops_ = 0;  // around the present statement
};

}  // namespace

absl::StatusOr<Block> Parse(absl::string_view source) {
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Template();
}

}  // namespace tactus::jinja
