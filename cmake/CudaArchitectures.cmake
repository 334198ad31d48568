# SPDX-License-Identifier: Apache-2.0
# indexcache_native_cuda_architectures(variable): what CMAKE_CUDA_ARCHITECTURES=native means here: the
# architectures of the GPUs of this machine, empty without one. CMake's own answer has no "90a",
# without which the kernels for Hopper are left out.
function(indexcache_native_cuda_architectures variable)
  set(found)
  find_program(nvidia_smi nvidia-smi NO_CACHE)
  if(nvidia_smi)
    execute_process(COMMAND ${nvidia_smi} --query-gpu=compute_cap --format=csv,noheader
      OUTPUT_VARIABLE found ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
    if(failed)
      set(found)
    endif()
  endif()
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" found "${found}")
  list(REMOVE_DUPLICATES found)
  list(TRANSFORM found REPLACE "\\." "")
  list(TRANSFORM found REPLACE "^90$" "90a")
  list(TRANSFORM found APPEND "-real")
  set(${variable} "${found}" PARENT_SCOPE)
endfunction()
