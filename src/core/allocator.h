// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace indexcache {

// Makes malloc keep freed memory instead of returning it to the system: activations of a few MiB
// come and go with every layer, and faulting their pages in again costs more than computing some of
// them. A setting of the whole process, so main() calls it and no library does.
void keep_freed_memory();

}  // namespace indexcache
