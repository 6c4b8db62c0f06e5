// From a storage type that is known when a call is made to the C++ type its kernel is compiled for.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <stdexcept>
#include <string>
#include <type_traits>

namespace tactus::ops::cuda {

// Calls fn(std::type_identity<T>()). `what` names the op where the type is none of the three.
template <typename Fn>
void ForStorageType(at::ScalarType type, const char* what, Fn fn) {
  switch (type) {
    case at::ScalarType::Float:
      return fn(std::type_identity<float>());
    case at::ScalarType::BFloat16:
      return fn(std::type_identity<c10::BFloat16>());
    case at::ScalarType::Half:
      return fn(std::type_identity<c10::Half>());
    default:
      throw std::invalid_argument(std::string(what) + ": the storage type is " + c10::toString(type) +
                                  ", expected float32, bfloat16 or half");
  }
}

}  // namespace tactus::ops::cuda
