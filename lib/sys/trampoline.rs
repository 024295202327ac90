//! The machine code of the program of lib/kernel/trampoline.rs. It executes another program and contains
//! nothing of the tools.

// At the start the stack holds argc, argv and the environment (System V ABI). argv[0] is empty, which
// distinguishes this execution from one by somebody else; argv[1] is the interpreter of scripts; the
// arguments of the program begin at argv[2]. lib/kernel/trampoline.rs appends to the code: the number of a
// descriptor (4 bytes), then the paths to try, each with a NUL, and a last NUL.
//
// As execvp(3) does, the code skips a path that does not exist or is not executable, and runs what the kernel
// does not know (ENOEXEC) as a script. If no path can be executed, it writes the errno as 8 bytes to the
// descriptor, which no program inherits. Of several errnos it writes EACCES before ENOENT before ENOTDIR.
//
// Executed by somebody else, as by a program inside that is a link to /proc/self/exe, it says so on standard error.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .rodata.subhost_trampoline, \"a\"",
    ".hidden subhost_trampoline, subhost_trampoline_end",
    ".globl subhost_trampoline, subhost_trampoline_end",
    "subhost_trampoline:",
    "mov rbx, [rsp]",
    "mov rax, [rsp + 8]",
    "test rax, rax",
    "jz 44f",
    "cmp byte ptr [rax], 0",
    "jne 44f",
    "lea r12, [rsp + 24]",
    "lea r13, [rsp + 8 * rbx + 16]",
    "lea r14, [rip + subhost_trampoline_end]",
    "mov edi, [r14]",
    "mov esi, 2",  // F_SETFD
    "mov edx, 1",  // FD_CLOEXEC
    "mov eax, 72", // fcntl
    "syscall",
    "lea rdi, [r14 + 4]",
    "xor ebp, ebp",
    "2:",
    "cmp byte ptr [rdi], 0",
    "je 8f",
    "mov rsi, r12",
    "mov rdx, r13",
    "mov eax, 59", // execve
    "syscall",
    "neg eax",
    "cmp eax, 8", // ENOEXEC
    "je 7f",
    "cmp eax, 13", // EACCES
    "je 5f",
    "cmp eax, 2", // ENOENT
    "je 3f",
    "cmp eax, 20", // ENOTDIR
    "je 4f",
    "mov ebp, eax",
    "jmp 8f",
    "3:",
    "cmp ebp, 13",
    "je 6f",
    "jmp 5f",
    "4:",
    "test ebp, ebp",
    "jnz 6f",
    "5:",
    "mov ebp, eax",
    "6:",
    "inc rdi",
    "cmp byte ptr [rdi - 1], 0",
    "jne 6b",
    "jmp 2b",
    "7:",
    "mov [r12], rdi",
    "lea rsi, [r12 - 8]",
    "mov rdi, [rsi]",
    "mov rdx, r13",
    "mov eax, 59",
    "syscall",
    "neg eax",
    "mov ebp, eax",
    "8:",
    "push rbp",
    "mov edi, [r14]",
    "mov rsi, rsp",
    "mov edx, 8",
    "mov eax, 1", // write
    "syscall",
    "jmp 9f",
    "44:",
    "mov edi, 2",
    "lea rsi, [rip + 42f]",
    "mov edx, 60",
    "mov eax, 1", // write
    "syscall",
    "9:",
    "mov edi, 126",
    "mov eax, 231", // exit_group
    "syscall",
    "ud2",
    "42:",
    ".ascii \"cannot run a program inside: it is a link to /proc/self/exe\\n\"",
    "subhost_trampoline_end:",
    ".popsection",
);
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .rodata.subhost_trampoline, \"a\"",
    ".hidden subhost_trampoline, subhost_trampoline_end",
    ".globl subhost_trampoline, subhost_trampoline_end",
    ".balign 4",
    "subhost_trampoline:",
    "ldr x19, [sp]",
    "ldr x0, [sp, #8]",
    "cbz x0, 44f",
    "ldrb w1, [x0]",
    "cbnz w1, 44f",
    "add x20, sp, #24",
    "mov x21, sp",
    "add x21, x21, x19, lsl #3",
    "add x21, x21, #16",
    "adr x22, subhost_trampoline_end",
    "ldr w0, [x22]",
    "mov x1, #2",  // F_SETFD
    "mov x2, #1",  // FD_CLOEXEC
    "mov x8, #25", // fcntl
    "svc #0",
    "add x23, x22, #4",
    "mov w24, #0",
    "2:",
    "ldrb w1, [x23]",
    "cbz w1, 8f",
    "mov x0, x23",
    "mov x1, x20",
    "mov x2, x21",
    "mov x8, #221", // execve
    "svc #0",
    "neg w25, w0",
    "cmp w25, #8", // ENOEXEC
    "b.eq 7f",
    "cmp w25, #13", // EACCES
    "b.eq 5f",
    "cmp w25, #2", // ENOENT
    "b.eq 3f",
    "cmp w25, #20", // ENOTDIR
    "b.eq 4f",
    "mov w24, w25",
    "b 8f",
    "3:",
    "cmp w24, #13",
    "b.eq 6f",
    "b 5f",
    "4:",
    "cbnz w24, 6f",
    "5:",
    "mov w24, w25",
    "6:",
    "ldrb w1, [x23], #1",
    "cbnz w1, 6b",
    "b 2b",
    "7:",
    "str x23, [x20]",
    "sub x1, x20, #8",
    "ldr x0, [x1]",
    "mov x2, x21",
    "mov x8, #221",
    "svc #0",
    "neg w24, w0",
    "8:",
    "str x24, [sp, #-16]!",
    "ldr w0, [x22]",
    "mov x1, sp",
    "mov x2, #8",
    "mov x8, #64", // write
    "svc #0",
    "b 9f",
    "44:",
    "mov x0, #2",
    "adr x1, 42f",
    "mov x2, #60",
    "mov x8, #64", // write
    "svc #0",
    "9:",
    "mov x0, #126",
    "mov x8, #94", // exit_group
    "svc #0",
    "brk #1",
    "42:",
    ".ascii \"cannot run a program inside: it is a link to /proc/self/exe\\n\"",
    "subhost_trampoline_end:",
    ".popsection",
);

/// Returns the position-independent code.
pub fn trampoline() -> &'static [u8] {
    unsafe extern "C" {
        static subhost_trampoline: u8;
        static subhost_trampoline_end: u8;
    }
    let (begin, end) = (
        &raw const subhost_trampoline,
        &raw const subhost_trampoline_end,
    );
    // SAFETY: both are labels of one section above, the second after the first; the bytes between them are
    // constant.
    unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) }
}
