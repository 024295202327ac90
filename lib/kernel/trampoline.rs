//! A program of two hundred bytes that executes a program inside on behalf of a tool.
//!
//! A program inside may be a link to /proc/self/exe, or have that path in its first line: then the process
//! that executes it executes itself, and root inside could write to the file of its program after its end
//! (CVE-2019-5736). So the tools leave the exec to this program: it is in a sealed memfd
//! and contains nothing of ours. It takes a third of the time of executing the tool anew from a read-only
//! mount.

use crate::base::error::{Errno, IntoErrno};
use crate::sys;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The trampoline for one program.
#[derive(Debug)]
pub struct Trampoline {
    image: OwnedFd,
    report: Report,
}

/// An eventfd that holds an errno if the program could not be executed.
#[derive(Debug)]
pub struct Report(EventFd);

/// The interpreter of files that the kernel does not know.
const SHELL: &std::ffi::CStr = c"/bin/sh";

impl Trampoline {
    /// Makes an empty trampoline.
    ///
    /// # Errors
    /// EACCES if the host forbids executable memfds (`vm.memfd_noexec`); EFBIG if RLIMIT_FSIZE is set, which
    /// applies to a memfd and would kill this process with SIGXFSZ.
    pub fn new() -> Result<Self, Errno> {
        if getrlimit(Resource::RLIMIT_FSIZE)?.0 != RLIM_INFINITY {
            return Err(Errno::EFBIG);
        }
        let make = |flags| memfd_create("subhost-enter", MemfdFlags::CLOEXEC | flags);
        let sealed = MemfdFlags::ALLOW_SEALING;
        let image = match make(sealed | MemfdFlags::EXEC) {
            // Before Linux 6.3 each memfd was executable and the flag unknown.
            Err(rustix::io::Errno::INVAL) => make(sealed),
            other => other,
        };
        Ok(Self {
            image: image.map_err(IntoErrno::into_errno)?,
            report: Report(EventFd::from_flags(
                EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK,
            )?),
        })
    }

    /// Writes and seals the program: it executes the first of `paths` that can be executed.
    ///
    /// # Errors
    /// ENOSPC and other errnos of the failed call.
    pub fn write(&self, paths: &[CString]) -> Result<(), Errno> {
        let image = image(sys::trampoline(), self.report.0.as_fd().as_raw_fd(), paths);
        rustix::io::pwrite(&self.image, &image, 0)
            .and_then(|written| match written == image.len() {
                true => fcntl_add_seals(&self.image, SEALS),
                false => Err(rustix::io::Errno::NOSPC),
            })
            .map_err(IntoErrno::into_errno)
    }

    /// Executes the trampoline, in a child, with arguments and environment for the program. Returns only on
    /// failure.
    pub fn execute(&self, args: &[CString], env: &[CString]) -> Errno {
        // The descriptor survives this exec; the trampoline sets close-on-exec for the next.
        if let Err(errno) = rustix::io::fcntl_setfd(&self.report.0, rustix::io::FdFlags::empty()) {
            return errno.into_errno();
        }
        let mut all = Vec::with_capacity(args.len() + 2);
        all.extend([c"", SHELL]);
        all.extend(args.iter().map(CString::as_c_str));
        sys::exec_fd(&self.image, &all, env)
    }

    /// Splits it into its memfd and its report.
    pub fn into_parts(self) -> (OwnedFd, Report) {
        (self.image, self.report)
    }
}

impl Report {
    /// Returns the errno of a failed exec, after the child has ended. A process inside can forge it.
    pub fn failure(&self) -> Option<Errno> {
        match self.0.read() {
            Ok(errno) => Some(match i32::try_from(errno).map(Errno::from_raw) {
                Ok(Errno::UnknownErrno) | Err(_) => Errno::EIO,
                Ok(errno) => errno,
            }),
            Err(_) => None,
        }
    }
}

/// The seals that forbid any change of the memfd and of its seals.
const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
const HEADER: u16 = 64;
const SEGMENT: u16 = 56;
const SEGMENTS: u16 = 2;

/// Builds the ELF file (elf(5)): one segment with everything, and a stack that is not executable.
fn image(code: &[u8], report: i32, paths: &[CString]) -> Vec<u8> {
    let begin = HEADER + SEGMENTS * SEGMENT;
    let paths = paths.iter().flat_map(|path| path.to_bytes_with_nul());
    let mut body = [code, &report.to_ne_bytes()].concat();
    body.extend(paths);
    body.push(0);
    let size = u64::from(begin) + body.len() as u64;
    let mut image = Vec::with_capacity(size as usize);
    // e_ident: 64 bits, little-endian, System V ABI.
    image.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let half = |image: &mut Vec<u8>, numbers: &[u16]| {
        image.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    };
    let word = |image: &mut Vec<u8>, numbers: &[u32]| {
        image.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    };
    let long = |image: &mut Vec<u8>, numbers: &[u64]| {
        image.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    };
    // Type ET_DYN, as the code is position-independent. Version; entry, program headers, no sections;
    // flags.
    half(&mut image, &[3, MACHINE]);
    word(&mut image, &[1]);
    long(&mut image, &[begin.into(), HEADER.into(), 0]);
    word(&mut image, &[0]);
    half(&mut image, &[HEADER, SEGMENT, SEGMENTS, 0, 0, 0]);
    // PT_LOAD, readable and executable: offset, addresses, sizes, and alignment to the largest page size.
    word(&mut image, &[1, 5]);
    long(&mut image, &[0, 0, 0, size, size, 0x1_0000]);
    // PT_GNU_STACK, readable and writable.
    word(&mut image, &[0x6474_e551, 6]);
    long(&mut image, &[0, 0, 0, 0, 0, 16]);
    image.extend(body);
    image
}
