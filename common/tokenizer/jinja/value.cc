#include "common/tokenizer/jinja/value.h"

#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/jinja/objects.h"

namespace tactus::jinja {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

bool SameForm(const List& a, const List& b) {
  const auto tuple = [](const List& list) { return list.form == ListForm::kTuple || list.form == ListForm::kGroup; };
  return a.form == b.form || (tuple(a) && tuple(b));
}

absl::StatusOr<bool> EqualLists(const List& a, const List& b, Budget& budget) {
  if (&a == &b) return true;
  if (!SameForm(a, b) || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool same, Equal(a.items[i], b.items[i], budget));
    if (!same) return false;
  }
  return true;
}

absl::StatusOr<bool> EqualDicts(const Dict& a, const Dict& b, Budget& budget) {
  if (&a == &b) return true;
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    ASSIGN_OR_RETURN(const Value* const other, Find(b, key, budget));
    if (other == nullptr) return false;
    ASSIGN_OR_RETURN(const bool same, Equal(value, *other, budget));
    if (!same) return false;
  }
  return true;
}

int Sign(int order) { return order < 0 ? -1 : order > 0 ? 1 : 0; }

}  // namespace

absl::Status TypeError(absl::string_view sentence) { return absl::InvalidArgumentError(sentence); }

absl::Status Budget::Charge(size_t bytes) {
  if (bytes > left_) {
    left_ = 0;
    return absl::InvalidArgumentError(
        absl::StrCat("the template asks for more work than the limit of ", limit_ >> 20, " MiB in bytes made or read"));
  }
  left_ -= bytes;
  return absl::OkStatus();
}

std::optional<int64_t> Value::whole() const {
  if (const int64_t* number = integer()) return *number;
  if (const bool* truth = boolean()) return *truth ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const double* number = real()) return *number;
  if (const std::optional<int64_t> number = whole()) return static_cast<double>(*number);
  return std::nullopt;
}

const std::string* Value::why_undefined() const {
  const Undefined* undefined = std::get_if<Undefined>(&data_);
  return undefined == nullptr ? nullptr : undefined->why.get();
}

absl::string_view TypeName(ListForm form) {
  switch (form) {
    case ListForm::kList:
      return "list";
    case ListForm::kTuple:
    case ListForm::kGroup:
      return "tuple";
    case ListForm::kRange:
      return "range";
    case ListForm::kKeys:
      return "dict_keys";
    case ListForm::kValues:
      return "dict_values";
    case ListForm::kItems:
      return "dict_items";
  }
  return "list";
}

absl::string_view Value::type_name() const {
  return std::visit(
      Overloaded{[](const Undefined&) -> absl::string_view { return "Undefined"; },
                 [](None) -> absl::string_view { return "NoneType"; }, [](bool) -> absl::string_view { return "bool"; },
                 [](int64_t) -> absl::string_view { return "int"; },
                 [](double) -> absl::string_view { return "float"; },
                 [](const std::shared_ptr<const std::string>&) -> absl::string_view { return "str"; },
                 [](const std::shared_ptr<const List>& list) { return TypeName(list->form); },
                 [](const std::shared_ptr<const Dict>&) -> absl::string_view { return "dict"; },
                 [](Object* object) { return object->type_name(); }},
      data_);
}

size_t Value::size() const {
  if (const std::string* bytes = text()) return bytes->size();
  if (const List* elements = list()) return elements->items.size();
  if (const Dict* members = dict()) return members->items.size();
  return 1;
}

int Value::depth() const {
  if (const List* elements = list()) return elements->depth;
  if (const Dict* members = dict()) return members->depth;
  return 0;
}

bool Value::SameAs(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  return std::visit(Overloaded{[](const Undefined&, const Undefined&) { return true; }, [](None, None) { return true; },
                               [](const std::shared_ptr<const std::string>& a,
                                  const std::shared_ptr<const std::string>& b) { return *a == *b; },
                               [](const auto& a, const auto& b) {
                                 if constexpr (std::is_same_v<decltype(a), decltype(b)>) return a == b;
                                 return false;
                               }},
                    data_, other.data_);
}

bool IsTrue(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const std::optional<double> number = value.number()) return *number != 0;
  if (value.text() != nullptr || value.list() != nullptr || value.dict() != nullptr) return value.size() > 0;
  return true;
}

absl::StatusOr<bool> Equal(const Value& a, const Value& b, Budget& budget) {
  RETURN_IF_ERROR(budget.Charge(16));
  if (a.whole().has_value() && b.whole().has_value()) return *a.whole() == *b.whole();
  if (a.number().has_value() && b.number().has_value()) return *a.number() == *b.number();
  if (a.text() != nullptr && b.text() != nullptr) {
    if (a.size() != b.size()) return false;
    RETURN_IF_ERROR(budget.Charge(a.size()));
    return *a.text() == *b.text();
  }
  if (a.list() != nullptr && b.list() != nullptr) return EqualLists(*a.list(), *b.list(), budget);
  if (a.dict() != nullptr && b.dict() != nullptr) return EqualDicts(*a.dict(), *b.dict(), budget);
  return a.SameAs(b);
}

absl::StatusOr<std::optional<int>> Compare(const Value& a, const Value& b, Budget& budget) {
  RETURN_IF_ERROR(budget.Charge(16));
  if (a.whole().has_value() && b.whole().has_value()) return *a.whole() < *b.whole() ? -1 : *a.whole() > *b.whole();
  if (a.number().has_value() && b.number().has_value()) {
    if (std::isnan(*a.number()) || std::isnan(*b.number())) return std::optional<int>();
    return *a.number() < *b.number() ? -1 : *a.number() > *b.number();
  }
  if (a.text() != nullptr && b.text() != nullptr) {
    RETURN_IF_ERROR(budget.Charge(std::min(a.size(), b.size())));
    return Sign(a.text()->compare(*b.text()));  // UTF-8 sorts as its scalars do
  }
  if (a.list() != nullptr && b.list() != nullptr && SameForm(*a.list(), *b.list())) {
    const std::vector<Value>&left = a.list()->items, &right = b.list()->items;
    for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      ASSIGN_OR_RETURN(const bool same, Equal(left[i], right[i], budget));
      if (!same) return Compare(left[i], right[i], budget);
    }
    return left.size() < right.size() ? -1 : left.size() > right.size();
  }
  return TypeError(absl::StrCat("no order between ", a.type_name(), " and ", b.type_name()));
}

absl::StatusOr<bool> Contains(const Value& container, const Value& element, Budget& budget) {
  if (const std::string* text = container.text()) {
    const std::string* part = element.text();
    if (part == nullptr) return TypeError(absl::StrCat("'in' a text takes a text, not ", element.type_name()));
    RETURN_IF_ERROR(budget.Charge(16 + text->size() + part->size()));
    return memmem(text->data(), text->size(), part->data(), part->size()) != nullptr;  // linear, unlike find
  }
  if (const Dict* dict = container.dict()) {
    ASSIGN_OR_RETURN(const Value* const found, Find(*dict, element, budget));
    return found != nullptr;
  }
  if (container.is_undefined()) return false;
  std::optional<std::vector<Value>> taken;
  if (container.object() != nullptr) taken = container.object()->TakeItems();
  if (!taken.has_value() && container.list() == nullptr) {
    return TypeError(absl::StrCat("'in' cannot look into ", container.type_name()));
  }
  for (const Value& item : taken.has_value() ? *taken : container.list()->items) {
    ASSIGN_OR_RETURN(const bool same, Equal(item, element, budget));
    if (same) return true;
  }
  return false;
}

absl::StatusOr<const Value*> Find(const Dict& dict, const Value& key, Budget& budget) {
  for (const auto& [name, value] : dict.items) {
    ASSIGN_OR_RETURN(const bool same, Equal(name, key, budget));
    if (same) return &value;
  }
  return nullptr;
}

}  // namespace tactus::jinja
