//! What `/proc` says of processes and threads. Parsers are pure and take any text; what is not as expected is `None`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

/// Bytes of one `/proc` file that are looked at.
const MAX_FILE_BYTES: usize = 64 << 20;
/// More than a line of numbers takes.
const SHORT_BYTES: usize = 512;
/// Processes that are looked at when descendants are sought.
const MAX_PROCESSES: usize = 1 << 20;

/// One line of `/proc/PID/maps` that holds code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) file_offset: u64,
    pub(crate) inode: u64,
    /// As the process saw it; ` (deleted)` is removed.
    pub(crate) path: String,
}

/// The executable mappings of a `maps` file.
pub(crate) fn parse_maps(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(parse_mapping).collect()
}

fn parse_mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let access = fields.next()?;
    let file_offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let _device = fields.next()?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next().unwrap_or("").trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path).to_owned();
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    (access.as_bytes().get(2) == Some(&b'x') && start < end).then_some(Mapping {
        start,
        end,
        file_offset,
        inode,
        path,
    })
}

/// Nanoseconds on a CPU and queued for one, of a `schedstat` file.
pub(crate) fn parse_schedstat(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Where a thread is in the kernel, of a `syscall` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syscall {
    /// On a CPU or queued for one.
    Running,
    /// Waiting inside a system call; `None` as number where it waits for another reason (a page).
    Waiting { number: Option<u64>, arguments: [u64; 6], sp: u64, pc: u64 },
}

pub(crate) fn parse_syscall(text: &str) -> Option<Syscall> {
    let text = text.trim();
    if text == "running" {
        return Some(Syscall::Running);
    }
    let hex = |field: &str| u64::from_str_radix(field.strip_prefix("0x")?, 16).ok();
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if let ["-1", sp, pc] = fields[..] {
        return Some(Syscall::Waiting { number: None, arguments: [0; 6], sp: hex(sp)?, pc: hex(pc)? });
    }
    let [number, rest @ ..] = &fields[..] else { return None };
    let values: Vec<u64> = rest.iter().map_while(|f| hex(f)).collect();
    let [a, b, c, d, e, f, sp, pc] = values[..] else { return None };
    Some(Syscall::Waiting { number: number.parse().ok(), arguments: [a, b, c, d, e, f], sp, pc })
}

/// State letter, parent and user of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) uid: u32,
    /// Signals that have a handler; bit 0 is signal 1.
    pub(crate) caught: u64,
    /// The number inside the innermost pid namespace.
    pub(crate) inner_id: Option<u32>,
}

pub(crate) fn parse_status(text: &str) -> Option<Status> {
    let field =
        |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    Some(Status {
        name: field("Name")?.to_owned(),
        state: field("State")?.chars().next()?,
        uid: field("Uid")?.split_ascii_whitespace().nth(1)?.parse().ok()?,
        caught: field("SigCgt").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0),
        inner_id: field("NSpid").and_then(|ids| ids.split_ascii_whitespace().last()?.parse().ok()),
    })
}

/// The parent of a process, of its `stat` file; the name in it may hold anything, also `)`.
pub(crate) fn parse_parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Port and inode of each listening socket, of a `net/tcp` file.
pub(crate) fn parse_listeners(text: &str) -> Vec<(u16, u64)> {
    const LISTEN: &str = "0A";
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        (*fields.get(3)? == LISTEN).then(|| Some((port, fields.get(9)?.parse().ok()?)))?
    };
    text.lines().skip(1).filter_map(listener).collect()
}

fn read(path: &str) -> Option<String> {
    let bytes = fs::read(path).ok().filter(|bytes| bytes.len() <= MAX_FILE_BYTES)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that the kernel hands over with the first read: growing a buffer by trial takes three more.
fn read_short(path: &str) -> Option<String> {
    let mut bytes = [0; SHORT_BYTES];
    let read = fs::File::open(path).ok()?.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(bytes.get(..read)?).into_owned())
}

/// A file of a process's folder.
pub(crate) fn text(pid: u32, name: &str) -> Option<String> {
    read(&format!("/proc/{pid}/{name}"))
}

pub(crate) fn maps(pid: u32) -> Option<Vec<Mapping>> {
    Some(parse_maps(&read(&format!("/proc/{pid}/maps"))?))
}

pub(crate) fn schedstat(pid: u32, tid: u32) -> Option<(u64, u64)> {
    parse_schedstat(&read_short(&format!("/proc/{pid}/task/{tid}/schedstat"))?)
}

/// Whether a thread is still there, also where the kernel counts nothing for it.
pub(crate) fn has_thread(pid: u32, tid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/task/{tid}")).is_ok()
}

pub(crate) fn syscall(pid: u32, tid: u32) -> Option<Syscall> {
    parse_syscall(&read_short(&format!("/proc/{pid}/task/{tid}/syscall"))?)
}

pub(crate) fn status(pid: u32) -> Option<Status> {
    parse_status(&read(&format!("/proc/{pid}/status"))?)
}

pub(crate) fn thread_status(pid: u32, tid: u32) -> Option<Status> {
    parse_status(&read(&format!("/proc/{pid}/task/{tid}/status"))?)
}

pub(crate) fn thread_name(pid: u32, tid: u32) -> Option<String> {
    Some(read_short(&format!("/proc/{pid}/task/{tid}/comm"))?.trim_end().to_owned())
}

/// The command line with spaces between its words; empty for a kernel thread.
pub(crate) fn command_line(pid: u32) -> Option<String> {
    Some(read(&format!("/proc/{pid}/cmdline"))?.trim_end_matches('\0').replace('\0', " "))
}

/// The program's file as the process saw it.
pub(crate) fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// What a descriptor of a process is: `socket:[1]`, `pipe:[1]`, `anon_inode:[eventfd]` or a path.
pub(crate) fn descriptor(pid: u32, fd: u64) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?.to_string_lossy().into_owned())
}

/// The threads of a process, ascending. Empty where it has ended.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    let mut tids: Vec<u32> = numbers(&format!("/proc/{pid}/task")).collect();
    tids.sort_unstable();
    tids
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    status(pid).is_some_and(|status| !matches!(status.state, 'Z' | 'X'))
}

/// A process and everything that it started and that still runs, ascending.
pub(crate) fn with_descendants(pid: u32) -> Vec<u32> {
    let parents: BTreeMap<u32, u32> = numbers("/proc")
        .take(MAX_PROCESSES)
        .filter_map(|child| Some((child, parse_parent(&read(&format!("/proc/{child}/stat"))?)?)))
        .collect();
    let is_below = |child: u32| {
        let mut at = child;
        // A chain of parents ends; the bound is for a table that changed while it was read.
        for _ in 0..parents.len() {
            if at == pid {
                return true;
            }
            match parents.get(&at) {
                Some(parent) => at = *parent,
                None => return false,
            }
        }
        false
    };
    let mut found: Vec<u32> = parents.keys().copied().filter(|child| is_below(*child)).collect();
    if found.is_empty() {
        found.push(pid);
    }
    found
}

fn listeners(net: &str) -> Vec<(u16, u64)> {
    let tables = ["tcp", "tcp6"].into_iter().filter_map(|table| read(&format!("{net}/{table}")));
    tables.flat_map(|text| parse_listeners(&text)).collect()
}

/// Inodes of the sockets that a process holds.
fn sockets(pid: u32) -> Vec<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect()
}

/// The processes that hold a socket which listens on `port`, ascending.
pub fn listening(port: u16) -> Vec<u32> {
    let wanted: Vec<u64> =
        listeners("/proc/net").into_iter().filter(|(p, _)| *p == port).map(|(_, inode)| inode).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let holds = |pid: &u32| sockets(*pid).iter().any(|inode| wanted.contains(inode));
    let mut found: Vec<u32> = numbers("/proc").take(MAX_PROCESSES).filter(holds).collect();
    found.sort_unstable();
    found
}

/// The ports that a process listens on, ascending.
pub(crate) fn listening_ports(pid: u32) -> Vec<u16> {
    let own = sockets(pid);
    let all = listeners(&format!("/proc/{pid}/net"));
    let mut ports: Vec<u16> =
        all.into_iter().filter(|(_, inode)| own.contains(inode)).map(|(port, _)| port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// CPUs that threads can run on, as `/sys` lists them: `0-3,8`.
pub(crate) fn online_cpus() -> Vec<i32> {
    let text = read("/sys/devices/system/cpu/online").unwrap_or_default();
    let cpus = parse_cpu_list(text.trim());
    if cpus.is_empty() { vec![0] } else { cpus }
}

fn parse_cpu_list(text: &str) -> Vec<i32> {
    const MAX_CPUS: i32 = 8192;
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            cpus.extend(first.max(0)..=last.min(MAX_CPUS));
        }
    }
    cpus
}

/// A setting of the kernel, as a number.
pub(crate) fn sysctl(path: &str) -> Option<i64> {
    read(&format!("/proc/sys/{path}"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_keep_code_and_odd_paths() {
        let text = "55d0-55e0 r--p 00000000 08:01 42   /bin/x\n\
                    55e0-55f0 r-xp 00001000 08:01 42   /a b (deleted)\n\
                    7f00-7f10 r-xp 00000000 00:00 0 \n\
                    nonsense\nffff-0000 r-xp 00000000 00:00 0 [x]\n";
        let maps = parse_maps(text);
        assert_eq!(maps.len(), 2);
        assert_eq!((maps[0].path.as_str(), maps[0].file_offset, maps[0].inode), ("/a b", 0x1000, 42));
        assert_eq!(maps[1].path, "");
    }

    #[test]
    fn system_calls_are_read_in_all_three_forms() {
        assert_eq!(parse_syscall("running\n"), Some(Syscall::Running));
        let page = Syscall::Waiting { number: None, arguments: [0; 6], sp: 0x7ff0, pc: 0x55 };
        assert_eq!(parse_syscall("-1 0x7ff0 0x55"), Some(page));
        let futex = parse_syscall("202 0x1 0x80 0x2 0x0 0x0 0x6 0x7ff0 0x55\n");
        let expected =
            Syscall::Waiting { number: Some(202), arguments: [1, 0x80, 2, 0, 0, 6], sp: 0x7ff0, pc: 0x55 };
        assert_eq!(futex, Some(expected));
        for broken in ["", "202 0x1", "-1 7 8", "202 0x1 0x80 0x2 0x0 0x0 0x6 0x7ff0 55"] {
            assert_eq!(parse_syscall(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_hide_the_parent() {
        assert_eq!(parse_parent("12 (a) b) S) S 7 12 12"), Some(7));
        assert_eq!(parse_parent("12"), None);
    }

    #[test]
    fn only_listening_sockets_count() {
        let text = "  sl  local_address rem_address   st\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n\
            1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n\
            2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n";
        assert_eq!(parse_listeners(text), [(8080, 4711), (8081, 4713)]);
    }

    #[test]
    fn cpu_lists_have_ranges_and_gaps() {
        assert_eq!(parse_cpu_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("x"), [0i32; 0]);
    }

    #[test]
    fn we_are_among_our_own_descendants_and_have_this_thread() {
        let pid = std::process::id();
        assert!(with_descendants(pid).contains(&pid));
        assert!(threads(pid).contains(&pid));
        assert!(is_alive(pid));
        assert!(schedstat(pid, pid).is_some());
    }
}
