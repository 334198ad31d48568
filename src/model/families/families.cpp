// SPDX-License-Identifier: Apache-2.0
#include "model/families/families.h"

#include <algorithm>

namespace indexcache {
namespace {

std::vector<const Family*>& list() {
  static std::vector<const Family*> all = {&kDeepseekV32, &kGlmMoeDsa, &kDeepseekV4, &kAxk2,
                                           &kHyV4};
  return all;
}

}  // namespace

std::span<const Family* const> families() {
  return list();
}

AddedFamily::AddedFamily(const Family& family) : family_(&family) {
  list().push_back(family_);
}

AddedFamily::~AddedFamily() {
  std::erase(list(), family_);
}

}  // namespace indexcache
