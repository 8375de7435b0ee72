// Chooses whisper.cpp's arithmetic for the processor that it runs on: arm.cmake compiles it twice.
#include "ggml-cpu.h"

#include <asm/hwcap.h>
#include <sys/auxv.h>

ggml_backend_reg_t ggml_backend_cpu_reg_dotprod(void);
ggml_backend_reg_t ggml_backend_cpu_reg_for_this_processor(void);

ggml_backend_reg_t ggml_backend_cpu_reg_for_this_processor(void) {
    // What is compiled for ARMv8.2 has its atomic instructions, too.
    const unsigned long needed = HWCAP_ASIMDDP | HWCAP_ATOMICS;
    return (getauxval(AT_HWCAP) & needed) == needed ? ggml_backend_cpu_reg_dotprod() : ggml_backend_cpu_reg();
}
