//! The one module with unsafe code: opening perf events, mapping their ring, reading another process's memory.
//! Every wrapper owns its descriptor or mapping and answers with `io::Result`. It knows nothing of records.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// `struct perf_event_attr` up to version 5 (112 bytes), as `perf_event_open(2)` describes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) kind: u32,
    pub(crate) size: u32,
    pub(crate) config: u64,
    pub(crate) sample_period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    pub(crate) flags: u64,
    pub(crate) wakeup: u32,
    pub(crate) bp_type: u32,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
    pub(crate) branch_sample_type: u64,
    pub(crate) sample_regs_user: u64,
    pub(crate) sample_stack_user: u32,
    pub(crate) clock_id: i32,
    pub(crate) sample_regs_intr: u64,
    pub(crate) aux_watermark: u32,
    pub(crate) sample_max_stack: u16,
    pub(crate) reserved: u16,
}

/// `PERF_EVENT_IOC_ENABLE`.
const IOC_ENABLE: libc::c_ulong = 0x2400;
/// `PERF_EVENT_IOC_SET_OUTPUT`.
const IOC_SET_OUTPUT: libc::c_ulong = 0x2405;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// Opens an event of one thread (0: of the calling one) on one CPU.
///
/// # Errors
/// What the kernel says: `EACCES` and `EPERM` where it is forbidden, `ESRCH` where the thread has ended, `EMFILE`.
pub(crate) fn perf_event_open(attributes: &Attributes, tid: i32, cpu: i32) -> io::Result<OwnedFd> {
    let attributes: *const Attributes = attributes;
    let no_group: libc::c_int = -1;
    // SAFETY: the pointer is valid for the call and its `size` field says how much may be read.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, attributes, tid, cpu, no_group, CLOSE_ON_EXEC) };
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Starts an event that was opened disabled.
pub(crate) fn enable(event: &OwnedFd) -> io::Result<()> {
    control(event, IOC_ENABLE, 0)
}

/// Lets an event write into the ring of another one of the same CPU.
pub(crate) fn redirect(event: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    control(event, IOC_SET_OUTPUT, to.as_raw_fd())
}

fn control(event: &OwnedFd, request: libc::c_ulong, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: both requests take an integer, and no memory of ours.
    let answer = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The mapped ring of a perf event: one page of head and tail, then the data.
pub(crate) struct RingMap {
    base: NonNull<u8>,
    page_bytes: usize,
    data_bytes: usize,
}

/// Where `struct perf_event_mmap_page` holds `data_head` and `data_tail`.
const HEAD_AT: usize = 1024;
const TAIL_AT: usize = 1032;

// SAFETY: the mapping belongs to the process, not to the thread that made it.
unsafe impl Send for RingMap {}

impl RingMap {
    /// Maps `data_bytes` (a power of two of whole pages) of an event's ring.
    ///
    /// # Errors
    /// `EPERM` where more memory is locked than the user may.
    pub(crate) fn new(event: &OwnedFd, data_bytes: usize) -> io::Result<Self> {
        let page_bytes = rustix::param::page_size();
        let length = page_bytes + data_bytes;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let anywhere = std::ptr::null_mut();
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(anywhere, length, access, libc::MAP_SHARED, event.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { base, page_bytes, data_bytes })
    }

    pub(crate) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// Bytes that the kernel has written since the ring was made.
    pub(crate) fn head(&self) -> u64 {
        self.word(HEAD_AT).load(Ordering::Acquire)
    }

    /// Tells the kernel that everything before `tail` may be overwritten.
    pub(crate) fn set_tail(&self, tail: u64) {
        self.word(TAIL_AT).store(tail, Ordering::Release);
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: `at` is one of two constants inside the first page, which is mapped as long as `self` lives.
        let word = unsafe { self.base.add(at) };
        // SAFETY: it is aligned to 8 bytes, and kernel and we only use it atomically.
        unsafe { word.cast::<AtomicU64>().as_ref() }
    }

    /// Copies data that lies between tail and head; `from` counts from the ring's making and wraps.
    pub(crate) fn copy(&self, from: u64, into: &mut [u8]) {
        let mask = self.data_bytes as u64 - 1;
        let at = usize::try_from(from & mask).unwrap_or(0);
        let length = into.len().min(self.data_bytes);
        let first = length.min(self.data_bytes - at);
        self.copy_plain(at, &mut into[..first]);
        self.copy_plain(0, &mut into[first..length]);
    }

    fn copy_plain(&self, at: usize, into: &mut [u8]) {
        assert!(at + into.len() <= self.data_bytes, "inside the ring");
        // SAFETY: the data begin one page after the base, and `at` was checked to lie inside them.
        let source = unsafe { self.base.add(self.page_bytes + at) };
        // SAFETY: the range is mapped, the kernel does not write between tail and head, and `into` is ours alone.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), into.as_mut_ptr(), into.len()) };
    }
}

impl Drop for RingMap {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.page_bytes + self.data_bytes) };
    }
}

/// Reads another process's memory without stopping it; returns how many bytes could be read.
///
/// # Errors
/// `EPERM` where that is forbidden, `ESRCH` where the process has ended, `EFAULT` where nothing is mapped.
pub(crate) fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> io::Result<usize> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let address = usize::try_from(address).map_err(|_| io::ErrorKind::InvalidInput)?;
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: into.len() };
    // SAFETY: `local` describes `into`, which is ours alone; the kernel checks the remote range.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attributes_have_the_size_of_version_five() {
        assert_eq!(size_of::<Attributes>(), 112);
    }

    #[test]
    fn our_own_memory_can_be_read_and_unmapped_memory_is_an_error() {
        let here = *b"sixteen bytes....";
        let mut there = [0; 17];
        let read = read_memory(std::process::id(), here.as_ptr() as u64, &mut there).unwrap();
        assert_eq!((read, &there), (17, &here));
        assert!(read_memory(std::process::id(), 8, &mut there).is_err());
    }
}
