# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where, below CMAKE_INSTALL_PREFIX and by the variables of GNUInstallDirs:
#   bin/                            the program
#   share/indexcache-search/        configs/, with the JSON Schemas in configs/schema/
#   share/doc/indexcache-search/    README.md, CHANGELOG.md, LICENSE and docs/, whose links stay valid
#   share/man/man1/, completions    what the hooks below name
#
# Hooks: man pages and completion scripts are generated, so they are not known here. Whoever
# generates them appends their paths to these global properties, before this file is included:
#   set_property(GLOBAL APPEND PROPERTY INDEXCACHE_MAN_PAGES ${CMAKE_CURRENT_BINARY_DIR}/name.1)
#   set_property(GLOBAL APPEND PROPERTY INDEXCACHE_COMPLETION_BASH file)   likewise _ZSH and _FISH
# A generated file needs a target in ALL that depends on it. Every shell looks for a name of its own;
# the files are renamed when they are installed.
include(GNUInstallDirs)
if(INDEXCACHE_CUDA AND INDEXCACHE_DEBIAN)  # its package has another name, and documents go by it
  set(CMAKE_INSTALL_DOCDIR ${CMAKE_INSTALL_DATADIR}/doc/${PROJECT_NAME}-cuda)
endif()

# A package of Debian leaves site-functions of zsh to the administrator.
set(zsh ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
if(INDEXCACHE_DEBIAN)
  set(zsh ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
endif()

install(TARGETS indexcache-search RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/${PROJECT_NAME}
  FILES_MATCHING PATTERN *.yaml PATTERN *.json)
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR}
  FILES_MATCHING PATTERN *.md PATTERN *.png PATTERN *.svg)

# indexcache_install_hook(property folder [RENAME name]): the files that the property names, if any.
function(indexcache_install_hook property folder)
  get_property(files GLOBAL PROPERTY ${property})
  if(files)
    install(FILES ${files} DESTINATION ${folder} ${ARGN})
  endif()
endfunction()
indexcache_install_hook(INDEXCACHE_MAN_PAGES ${CMAKE_INSTALL_MANDIR}/man1)
indexcache_install_hook(INDEXCACHE_COMPLETION_BASH
  ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ${PROJECT_NAME})
indexcache_install_hook(INDEXCACHE_COMPLETION_ZSH ${zsh} RENAME _${PROJECT_NAME})
indexcache_install_hook(INDEXCACHE_COMPLETION_FISH
  ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d RENAME ${PROJECT_NAME}.fish)
