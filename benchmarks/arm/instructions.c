/* A plugin of qemu-user 7: counts executed AArch64 instructions by class, and prints the counts where the program asks.

   The program asks by getpriority(PRIO_PROCESS, label), which nothing else calls: a line "COUNT label total vector
   multiply load store branch" on standard error. The declarations are those of qemu's plugin API, version 1; Debian
   packages no header. Classes follow the encoding tables of the Arm Architecture Reference Manual, chapter C4. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
enum qemu_plugin_op { ADD_U64 };
typedef void (*on_translation)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translation);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);

int qemu_plugin_version = 1;

enum { TOTAL, VECTOR, MULTIPLY, LOAD, STORE, BRANCH, CLASSES };
enum { GETPRIORITY = 141 }; /* of Linux on AArch64 */
static uint64_t counts[CLASSES];

static bool is(uint32_t word, uint32_t mask, uint32_t value) { return (word & mask) == value; }

/* Vector multiply-accumulates: of floats and halves, dot products, matrix products, widening ones of integers. */
static bool multiplies(uint32_t w) {
  return is(w, 0xBF20FC00, 0x0E20CC00)      /* FMLA, FMLS, vectors */
         || is(w, 0xBF60FC00, 0x0E400C00)   /* of halves */
         || is(w, 0xBF80B400, 0x0F801000)   /* by element */
         || is(w, 0xBFC0B400, 0x0F001000)   /* of halves */
         || is(w, 0x9FE0FC00, 0x0E809400)   /* SDOT, UDOT */
         || is(w, 0x9FC0F400, 0x0F80E000)   /* by element */
         || is(w, 0x9FE0F400, 0x0E80A400)   /* SMMLA, UMMLA, USMMLA */
         || is(w, 0x9F20DC00, 0x0E208000)   /* SMLAL, UMLAL, SMLSL, UMLSL */
         || is(w, 0x9F00B400, 0x0F002000);  /* by element */
}

static int memory_class(uint32_t w) {
  if (is(w, 0x3B000000, 0x18000000)) return LOAD; /* literal */
  if (is(w, 0x38000000, 0x38000000)) {            /* one register */
    bool vector = w >> 26 & 1;
    unsigned opc = w >> 22 & 3;
    return (vector ? opc & 1 : opc) ? LOAD : STORE;
  }
  return w >> 22 & 1 ? LOAD : STORE; /* pairs, exclusive, structures */
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
  (void)id;
  uint64_t found[CLASSES] = {qemu_plugin_tb_n_insns(block)};
  for (size_t i = 0; i < found[TOTAL]; i++) {
    uint32_t w = *(const uint32_t *)qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i));
    unsigned group = w >> 25 & 15;
    found[VECTOR] += (group & 7) == 7;
    found[MULTIPLY] += multiplies(w);
    found[BRANCH] += (group & 14) == 10;
    if ((group & 5) == 4) found[memory_class(w)]++;
  }
  for (int c = 0; c < CLASSES; c++)
    if (found[c]) qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counts[c], found[c]);
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t label, uint64_t c, uint64_t d,
                   uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)a, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != GETPRIORITY) return;
  fprintf(stderr, "COUNT %llu", (unsigned long long)label);
  for (int i = 0; i < CLASSES; i++) fprintf(stderr, " %llu", (unsigned long long)counts[i]);
  fputc('\n', stderr);
}

int qemu_plugin_install(plugin_id id, const struct qemu_info_t *info, int argc, char **argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
