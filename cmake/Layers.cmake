# SPDX-License-Identifier: Apache-2.0
# One static library per layer. Its link line states which layers it may include: headers of other
# layers are found through the one include root, so tests/style/include_direction.py checks the rest.

add_library(indexcache_options INTERFACE)
target_include_directories(indexcache_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
# -Wno-restrict: g++ 12 misreads string concatenation (GCC bug 105651).
target_compile_options(indexcache_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-psabi -Wno-restrict
  $<$<BOOL:${INDEXCACHE_WERROR}>:-Werror>)
if(INDEXCACHE_SANITIZE)
  target_compile_options(indexcache_options INTERFACE
    -fsanitize=${INDEXCACHE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(indexcache_options INTERFACE -fsanitize=${INDEXCACHE_SANITIZE})
endif()

# Sources of a target are compiled eight at a time, because most of the time goes into the templates
# that they have in common; names in anonymous namespaces must differ within a target.
# -DCMAKE_UNITY_BUILD=OFF compiles each by itself, which is faster while one file is edited.
if(NOT DEFINED CMAKE_UNITY_BUILD)
  set(INDEXCACHE_UNITY ON)
else()
  set(INDEXCACHE_UNITY ${CMAKE_UNITY_BUILD})
endif()

# indexcache_layer(name [FOLDER folder…] PUBLIC … PRIVATE …): the .cpp files of src/<folder>, which is
# the name unless given.
function(indexcache_layer name)
  cmake_parse_arguments(arg "" "" "FOLDER;PUBLIC;PRIVATE" ${ARGN})
  if(NOT arg_FOLDER)
    set(arg_FOLDER ${name})
  endif()
  list(TRANSFORM arg_FOLDER REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/src/\\1/*.cpp")
  file(GLOB sources CONFIGURE_DEPENDS ${arg_FOLDER})
  add_library(indexcache_${name} STATIC ${sources})
  set_target_properties(indexcache_${name} PROPERTIES UNITY_BUILD ${INDEXCACHE_UNITY})
  target_link_libraries(indexcache_${name}
    PUBLIC indexcache_options ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()
