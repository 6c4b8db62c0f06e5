// A template, parsed. Immutable once made; the depth of every tree is bounded, so that walking it cannot exhaust a
// stack.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/tokenizer/jinja/value.h"

namespace tactus::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;  // *args and **kwargs, or null
};

struct Expr {
  enum class Kind {
    kConst,    // value
    kName,     // name
    kTuple,    // parts
    kList,     // parts
    kDict,     // parts: key, value, key, value, …
    kAttr,     // parts[0].name
    kItem,     // parts[0][parts[1]]
    kSlice,    // parts[0][parts[1]:parts[2]:parts[3]]; 1 to 3 may be null
    kCall,     // parts[0](call)
    kFilter,   // parts[0] | name(call); parts[0] is null in a block: the block's text
    kTest,     // parts[0] is name(call)
    kNot,      // parts[0]
    kMinus,    // parts[0]
    kPlus,     // parts[0]
    kAnd,      // parts[0], parts[1]
    kOr,       // parts[0], parts[1]
    kChoice,   // parts[1] if parts[0] else parts[2]; the last may be null
    kBinary,   // parts[0] name parts[1]
    kConcat,   // all parts, as text
    kCompare,  // parts[0] ops[0] parts[1] ops[1] parts[2] …
  };
  Kind kind;
  int line = 0;
  std::string name = {};
  Value value = {};
  std::vector<ExprPtr> parts = {};
  std::vector<std::string> ops = {};
  CallArguments call = {};
  int depth = 1;
};

// Where a value is put: a name, several names for one sequence, or a namespace's attribute.
struct Target {
  std::vector<std::string> names;
  bool unpack = false;
  std::string attribute = {};  // of names[0]; empty = none
};

struct Stmt;
using Block = std::vector<std::unique_ptr<const Stmt>>;

// What {% macro %} and {% call %} make callable.
struct MacroBody {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Block body;
  bool uses_varargs = false, uses_kwargs = false;  // else arguments beyond the parameters are an error
};

struct Stmt {
  enum class Kind {
    kText,         // text
    kOutput,       // expr
    kIf,           // branches, the last without a condition for else
    kFor,          // for target in expr if filter: body, else: otherwise
    kSet,          // target = expr
    kSetBlock,     // target = body, through expr when there is a filter
    kMacro,        // macro
    kCallBlock,    // expr, a call, with macro as its caller
    kFilterBlock,  // expr: a filter, of body
    kWith,         // assignments, then body
    kScope,        // body, in which what is set stays
    kBreak,
    kContinue,
  };
  Kind kind;
  int line = 0;
  std::string text = {};
  ExprPtr expr = {};
  Target target = {};
  std::vector<std::pair<ExprPtr, Block>> branches = {};
  Block body = {};
  ExprPtr filter = {};
  Block otherwise = {};
  bool recursive = false;
  std::shared_ptr<const MacroBody> macro = {};
  std::vector<std::pair<Target, ExprPtr>> assignments = {};
};

}  // namespace tactus::jinja
