//! Between a tool and a program inside: a program of two hundred bytes that executes the other.
//!
//! A program inside may be a link to /proc/self/exe, or have that in its first line: what is about to
//! execute it then executes itself, and is in the hands of whoever is root inside, who could write to its
//! file when it has ended (CVE-2019-5736). What executes programs inside is therefore never our own, but this:
//! it lies in sealed memory of its own, and nothing of ours is in it. It costs a third of what it would
//! to execute ourselves anew from a mount that nobody can write through.

use crate::base::error::{Errno, IntoErrno};
use crate::sys;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// One, for one program.
#[derive(Debug)]
pub struct Trampoline {
    image: OwnedFd,
    report: Report,
}

/// Has an errno if the program could not be executed.
#[derive(Debug)]
pub struct Report(EventFd);

/// What runs what the kernel does not know.
const SHELL: &std::ffi::CStr = c"/bin/sh";

impl Trampoline {
    /// Still empty.
    ///
    /// # Errors
    /// EACCES where the host lets no memory be executed (`vm.memfd_noexec`); EFBIG where our files are limited,
    /// and this is one: to write more would end us by a signal (`RLIMIT_FSIZE`).
    pub fn new() -> Result<Self, Errno> {
        if getrlimit(Resource::RLIMIT_FSIZE)?.0 != RLIM_INFINITY {
            return Err(Errno::EFBIG);
        }
        let make = |flags| memfd_create("subhost-enter", MemfdFlags::CLOEXEC | flags);
        let sealed = MemfdFlags::ALLOW_SEALING;
        let image = match make(sealed | MemfdFlags::EXEC) {
            // Before Linux 6.3 all could be executed.
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

    /// Makes it execute the first of these that can be executed, for good.
    ///
    /// # Errors
    /// No memory.
    pub fn write(&self, paths: &[CString]) -> Result<(), Errno> {
        let image = image(sys::trampoline(), self.report.0.as_fd().as_raw_fd(), paths);
        rustix::io::pwrite(&self.image, &image, 0)
            .and_then(|written| match written == image.len() {
                true => fcntl_add_seals(&self.image, SEALS),
                false => Err(rustix::io::Errno::NOSPC),
            })
            .map_err(IntoErrno::into_errno)
    }

    /// Executes it, in a child of ours, with these arguments and this environment for the program. Returns
    /// only if that fails.
    pub fn execute(&self, args: &[CString], env: &[CString]) -> Errno {
        // Across one execution: it sees to the next.
        if let Err(errno) = rustix::io::fcntl_setfd(&self.report.0, rustix::io::FdFlags::empty()) {
            return errno.into_errno();
        }
        let mut all = Vec::with_capacity(args.len() + 2);
        all.extend([c"", SHELL]);
        all.extend(args.iter().map(CString::as_c_str));
        sys::exec_fd(&self.image, &all, env)
    }

    /// Its memory, and what it will report.
    pub fn apart(self) -> (OwnedFd, Report) {
        (self.image, self.report)
    }
}

impl Report {
    /// Why the program could not be executed, when the child has ended. Those inside may have had a hand in it.
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

/// The seals of memory that nobody changes any more, nor gives other seals.
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

/// The program, as execve(2) wants it (elf(5)): one segment with all of it, and a stack that is not executed.
fn image(code: &[u8], report: i32, paths: &[CString]) -> Vec<u8> {
    let begin = HEADER + SEGMENTS * SEGMENT;
    let paths = paths.iter().flat_map(|path| path.to_bytes_with_nul());
    let mut body = [code, &report.to_ne_bytes()].concat();
    body.extend(paths);
    body.push(0);
    let size = u64::from(begin) + body.len() as u64;
    let mut image = Vec::with_capacity(size as usize);
    // e_ident: 64 bits, little end first; all else is that of System V.
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
    // Type ET_DYN: it runs wherever it lies. Version; entry, program headers, no sections; flags.
    half(&mut image, &[3, MACHINE]);
    word(&mut image, &[1]);
    long(&mut image, &[begin.into(), HEADER.into(), 0]);
    word(&mut image, &[0]);
    half(&mut image, &[HEADER, SEGMENT, SEGMENTS, 0, 0, 0]);
    // PT_LOAD, read and execute: offset, addresses, sizes, alignment to the largest page there is.
    word(&mut image, &[1, 5]);
    long(&mut image, &[0, 0, 0, size, size, 0x1_0000]);
    // PT_GNU_STACK, read and write.
    word(&mut image, &[0x6474_e551, 6]);
    long(&mut image, &[0, 0, 0, 0, 0, 16]);
    image.extend(body);
    image
}
