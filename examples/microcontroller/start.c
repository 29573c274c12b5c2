/* From reset to main() on a Cortex-M: memory set up, floating point switched on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern uint32_t data_start, data_end, data_source, bss_start, bss_end, stack_top;
extern void initialise_monitor_handles(void); /* newlib's semihosting: files and exit status through the debugger */
int main(void);
void reset(void);

void reset(void) {
  volatile uint32_t *coprocessors = (volatile uint32_t *)0xE000ED88;
  *coprocessors |= 0xFu << 20;
  __asm__ volatile("dsb\n isb");
  memcpy(&data_start, &data_source, (size_t)((char *)&data_end - (char *)&data_start));
  memset(&bss_start, 0, (size_t)((char *)&bss_end - (char *)&bss_start));
  initialise_monitor_handles();
  exit(main());
}

static void fault(void) { exit(99); }

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)&stack_top, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,      (uintptr_t)fault, (uintptr_t)fault,
};
