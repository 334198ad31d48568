// SPDX-License-Identifier: Apache-2.0
// Standard output and standard error: the only place that writes to them.
//
// Results go to standard output, and whether all of them arrived is checked before the program
// exits with 0. Narration goes to standard error and is best effort: once it cannot be written (a
// full disk, a terminal that is gone), the work goes on without it. Nothing here throws.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace indexcache {

// Call first in main. Descriptors 0 to 2 that the caller closed are opened on /dev/null, so that no
// file of ours gets one of these numbers and with it what is printed. A reader that leaves a pipe
// causes an error of that write instead of a signal.
void secure_standard_streams();

void write_output(std::string_view text);

// Whole lines for standard error. Only core/log calls this and the next: all narration goes through
// it, because the format of the log decides what may appear.
void write_narration(std::string_view text);
// A line of a terminal, without its end, that is replaced by whatever is narrated next.
void write_passing_narration(std::string_view text);
void clear_passing_narration();

// Whether this is the regular file to which standard output or standard error was redirected.
bool is_standard_stream(int descriptor);

template <typename... T>
void write_output(fmt::format_string<T...> format, T&&... arguments) {
  write_output(fmt::format(format, std::forward<T>(arguments)...));
}

// Delivers what was printed so far.
void flush_output();

// The same, and the error (an errno) that kept some of the output from arriving; 0 if all of it
// did. A reader that closed its pipe, or whose terminal is gone, misses nothing that it wants.
int finish_output();

}  // namespace indexcache
