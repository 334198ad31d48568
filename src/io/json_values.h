// SPDX-License-Identifier: Apache-2.0
// The values of a .json file, one at a time: the elements of a list, or values after one another.
#pragma once

#include "io/byte_stream.h"
#include "io/json.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace indexcache {

class JsonValueReader {
 public:
  // `where` names the file in errors.
  JsonValueReader(ByteStream& stream, std::string where);

  // The text of the next value, not checked, and where it begins; false at the end. Throws
  // InputError for a list that does not end, and for what stands between or after values.
  bool next(std::string& value, JsonPlace& place);

  // Whether the last value was an element of a list.
  bool in_list() const { return in_list_; }

 private:
  [[noreturn]] void fail(const std::string& why) const;
  bool more();  // whether there is another byte, which then is at at_
  char peek() const { return buffer_[at_]; }
  void take(std::string* value);
  bool skip_space();
  bool find_value();
  void take_string(std::string& value);
  void take_value(std::string& value);

  ByteStream& stream_;
  std::string where_;
  std::vector<char> buffer_;
  std::size_t size_ = 0;  // bytes of the buffer that are filled
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::size_t column_ = 1;
  std::size_t count_ = 0;
  bool started_ = false;
  bool in_list_ = false;
  bool ended_ = false;
};

}  // namespace indexcache
