// SPDX-License-Identifier: Apache-2.0
// The text of the error that an action throws.
#pragma once

#include "core/error.h"

#include <string>

namespace indexcache::test {

// What a user would see if `action` throws an Error; "accepted" if it throws nothing.
template <typename Action>
std::string refusal_of(Action action) {
  try {
    action();
    return "accepted";
  } catch (const Error& error) {
    return error.describe();
  }
}

}  // namespace indexcache::test
