# SPDX-License-Identifier: Apache-2.0
# The arithmetic of the CPU backend, compiled once per instruction set and chosen at run time.
#
# The linker keeps one of all equal templates and inline functions of a program, whichever comes
# first: a std::vector that was compiled with AVX-512 could end up in code that runs everywhere. So
# the objects of each instruction set are sealed: linked into one (ld -r), with groups dissolved, so
# that nothing in it is replaced by or replaces an equal function elsewhere, and with every symbol
# local but the table of its functions (src/backend/cpu/arithmetic/arithmetic.h). A build fails if
# anything else is visible or would run when the program starts (SealObjects.cmake).

set(INDEXCACHE_CPU_ARCH "" CACHE STRING
    "-march of the CPU backend, such as native; empty: x86-64-v2, v3 and v4, chosen at run time")

# Vectors of 512 bits where the processor has them: compilers would use 256.
set(indexcache_wide $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-mprefer-vector-width=512>)

# indexcache_isa(name options…): one instruction set; `name` is what users read. Lines for
# cpu_isas.inc are collected in INDEXCACHE_ISAS, sources of indexcache_cpu in INDEXCACHE_ISA_OBJECTS.
function(indexcache_isa name)
  string(MAKE_C_IDENTIFIER ${name} id)
  set(target indexcache_arithmetic_${id})
  set(table indexcache_cpu_${id})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/backend/cpu/arithmetic/*.cpp)
  add_library(${target} OBJECT ${sources})
  target_link_libraries(${target} PRIVATE indexcache_backend Eigen3::Eigen OpenMP::OpenMP_CXX)
  # Tiles are the unit of parallel work; a product inside one must not spawn threads of its own.
  target_compile_definitions(${target} PRIVATE EIGEN_DONT_PARALLELIZE
    INDEXCACHE_ARITHMETIC=${table})
  # Sealing needs machine code, and objcopy does not make symbols local that are unique in a process.
  # -Wno-maybe-uninitialized: g++ 12 misreads its own AVX-512 header.
  target_compile_options(${target} PRIVATE ${ARGN} -fno-lto -Wno-maybe-uninitialized
    $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)

  set(objects $<TARGET_OBJECTS:${target}>)
  if(NOT INDEXCACHE_SANITIZE)
    set(sealed ${PROJECT_BINARY_DIR}/sealed/${table}.o)
    add_custom_command(OUTPUT ${sealed}
      COMMAND ${CMAKE_COMMAND} -DOUTPUT=${sealed} -DVISIBLE=${table} "-DOBJECTS=${objects}"
              -DLD=${INDEXCACHE_LD} -DOBJCOPY=${CMAKE_OBJCOPY} -DNM=${CMAKE_NM}
              -DREADELF=${CMAKE_READELF} -P ${PROJECT_SOURCE_DIR}/cmake/SealObjects.cmake
      DEPENDS ${target} ${objects} ${PROJECT_SOURCE_DIR}/cmake/SealObjects.cmake
      COMMENT "Sealing the CPU arithmetic for ${name}"
      VERBATIM)
    set(objects ${sealed})
  endif()
  set(INDEXCACHE_ISA_OBJECTS ${INDEXCACHE_ISA_OBJECTS} ${objects} PARENT_SCOPE)
  string(APPEND INDEXCACHE_ISAS "INDEXCACHE_CPU_ISA(\"${name}\", ${table})\n")
  set(INDEXCACHE_ISAS "${INDEXCACHE_ISAS}" PARENT_SCOPE)
endfunction()

# indexcache_cpu_isas(target): adds every instruction set of this build to the library, and the list
# of them as cpu_isas.inc.
function(indexcache_cpu_isas target)
  # Dissolving groups is an option of GNU ld only; whatever links the program may be another.
  find_program(INDEXCACHE_LD NAMES ld.bfd ld)
  mark_as_advanced(INDEXCACHE_LD)
  if(INDEXCACHE_CPU_ARCH)
    indexcache_isa(${INDEXCACHE_CPU_ARCH} -march=${INDEXCACHE_CPU_ARCH} ${indexcache_wide})
  elseif(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL x86_64)
    indexcache_isa(${CMAKE_SYSTEM_PROCESSOR})
  elseif(INDEXCACHE_SANITIZE)
    message(FATAL_ERROR "sanitizers need a single instruction set: -DINDEXCACHE_CPU_ARCH=native")
  else()
    indexcache_isa(x86-64-v4 -march=x86-64-v4 ${indexcache_wide})  # AVX-512
    indexcache_isa(x86-64-v3 -march=x86-64-v3)  # AVX2, FMA
    indexcache_isa(x86-64-v2 -march=x86-64-v2)  # SSE4.2
  endif()
  set_source_files_properties(${INDEXCACHE_ISA_OBJECTS} PROPERTIES EXTERNAL_OBJECT ON)
  target_sources(${target} PRIVATE ${INDEXCACHE_ISA_OBJECTS})
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/cpu_isas.inc CONTENT
    "// SPDX-License-Identifier: Apache-2.0\n// Made by CMake: the instruction sets, the best first.\n${INDEXCACHE_ISAS}")
endfunction()
