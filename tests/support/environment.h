// SPDX-License-Identifier: Apache-2.0
// A variable of this process's environment for as long as an object lives.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace indexcache::test {

class ScopedVariable {
 public:
  // A null `value` unsets it.
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~ScopedVariable() { set(before_ ? before_->c_str() : nullptr); }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  void set(const char* value) {
    if (value == nullptr) {
      unsetenv(name_);
    } else {
      setenv(name_, value, 1);
    }
  }

  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace indexcache::test
