# whisper.cpp for every 64-bit ARM processor: its arithmetic is compiled twice, for ARMv8.0 (Raspberry Pi 4) and with dot products
# (Raspberry Pi 5), and for_this_processor.c chooses when hearth starts. Without this file one build serves one of them: with dot products
# a Pi 4 ends with an illegal instruction, without them a Pi 5 takes longer.
#
# whisper.cpp's build includes this file behind project(ggml), because .cargo/config.toml sets CMAKE_PROJECT_ggml_INCLUDE. ggml's own way
# to choose needs shared libraries, which whisper-rs cannot link.
if (NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    return()
endif()

set(GGML_NATIVE OFF CACHE BOOL "" FORCE)
set(GGML_CPU_ARM_ARCH armv8-a CACHE STRING "" FORCE)
set(HEARTH_WHISPER ${CMAKE_CURRENT_LIST_DIR} CACHE PATH "" FORCE)

# Runs when ggml's targets are known.
function(hearth_compile_twice)
    get_target_property(sources ggml-cpu SOURCES)
    list(TRANSFORM sources PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/src/")
    add_library(ggml-cpu-dotprod OBJECT ${sources})
    foreach (property INCLUDE_DIRECTORIES COMPILE_DEFINITIONS COMPILE_OPTIONS COMPILE_FEATURES POSITION_INDEPENDENT_CODE)
        get_target_property(value ggml-cpu ${property})
        if (value)
            set_target_properties(ggml-cpu-dotprod PROPERTIES ${property} "${value}")
        endif()
    endforeach()
    get_directory_property(definitions DIRECTORY src COMPILE_DEFINITIONS)
    target_compile_definitions(ggml-cpu-dotprod PRIVATE ${definitions})
    target_link_libraries(ggml-cpu-dotprod PRIVATE ggml-base)
    # The last -march counts. "Unique" symbols could not be hidden below.
    target_compile_options(ggml-cpu-dotprod PRIVATE -march=armv8.2-a+dotprod -mtune=cortex-a76
        $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)

    # Of the second copy only the entry can be seen. Inline functions of C++ are in both: if the linker were let choose, the code for
    # ARMv8.0 could get those with newer instructions.
    set(copy ${CMAKE_CURRENT_BINARY_DIR}/ggml-cpu-dotprod.o)
    add_custom_target(ggml-cpu-twice ALL
        COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -Wl,--force-group-allocation -o ${copy} $<TARGET_OBJECTS:ggml-cpu-dotprod>
        COMMAND ${CMAKE_OBJCOPY} --redefine-sym ggml_backend_cpu_reg=ggml_backend_cpu_reg_dotprod ${copy}
        COMMAND ${CMAKE_OBJCOPY} --keep-global-symbol=ggml_backend_cpu_reg_dotprod ${copy}
        COMMAND ${CMAKE_AR} r $<TARGET_FILE:ggml-cpu> ${copy}
        COMMAND_EXPAND_LISTS VERBATIM)
    add_dependencies(ggml-cpu-twice ggml-cpu ggml-cpu-dotprod)

    target_sources(ggml-cpu PRIVATE ${HEARTH_WHISPER}/for_this_processor.c)
    # Where ggml looks for its arithmetic.
    target_compile_definitions(ggml PRIVATE ggml_backend_cpu_reg=ggml_backend_cpu_reg_for_this_processor)
endfunction()
cmake_language(DEFER CALL hearth_compile_twice)
