//! JavaScript stacks of a running Node process through its inspector: opened by a signal, used over a local port, closed
//! again. Only where the caller has allowed it: an open inspector lets every local user run code in that process.

mod websocket;

use crate::formats::{CallFrame, CpuProfile};
use crate::perf::wait_for;
use crate::procfs;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};
use websocket::Socket;

/// From the signal to the open port.
const OPENING: Duration = Duration::from_secs(3);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// How long one answer may take; a profile of an hour is some 50 MB.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const MAX_LIST_BYTES: u64 = 1 << 20;
/// Microseconds between two samples: 99 a second, as elsewhere.
const INTERVAL_US: u32 = 10_101;

/// Whether a process is Node, by its program's name.
pub(crate) fn is_node(pid: u32) -> bool {
    let program = procfs::program(pid).unwrap_or_default();
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(name.trim_end_matches(" (deleted)"), "node" | "nodejs")
}

/// A running profile of V8. Dropping it ends the profile and closes the inspector that it opened.
pub(crate) struct Inspector {
    pub(crate) pid: u32,
    socket: Socket,
    opened: bool,
    next_id: u64,
}

impl Inspector {
    /// Opens the inspector of a Node process and starts to sample.
    ///
    /// # Errors
    /// It is not Node, does not listen to the signal, or its port is taken.
    pub(crate) fn start(pid: u32) -> Result<Self> {
        let (port, opened) = open(pid)?;
        let socket =
            connect(port).with_context(|| format!("could not talk to the inspector of process {pid}"))?;
        let mut inspector = Self { pid, socket, opened, next_id: 1 };
        inspector.call("Profiler.enable", &json!({}))?;
        inspector.call("Profiler.setSamplingInterval", &json!({"interval": INTERVAL_US}))?;
        inspector.call("Profiler.start", &json!({}))?;
        Ok(inspector)
    }

    /// Ends sampling: the stacks with their times.
    pub(crate) fn stop(mut self) -> Result<CpuProfile> {
        let answer = self.call("Profiler.stop", &json!({}))?;
        CpuProfile::new(&answer["profile"])
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        let id = self.send(method, parameters)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let answer: Value =
                serde_json::from_slice(&self.socket.receive()?).context("an answer is no JSON")?;
            if answer["id"].as_u64() != Some(id) {
                continue;
            }
            if let Some(message) = answer["error"]["message"].as_str() {
                bail!("{method} was refused: {message}");
            }
            return Ok(answer["result"].clone());
        }
        bail!("{method} was not answered within {} s", PATIENCE.as_secs())
    }

    fn send(&mut self, method: &str, parameters: &Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let text = json!({"id": id, "method": method, "params": parameters}).to_string();
        self.socket.send(text.as_bytes())?;
        Ok(id)
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        // Nobody is left to tell when this fails: the process has ended, which closes its port too.
        drop(self.call("Profiler.disable", &json!({})));
        if self.opened {
            drop(self.send("Runtime.evaluate", &json!({"expression": "process._debugEnd()"})));
            // The answer, or the end of the connection, says that it was done.
            drop(self.socket.receive());
        }
    }
}

/// The port of the inspector, and whether we opened it.
fn open(pid: u32) -> Result<(u16, bool)> {
    ensure!(is_node(pid), "process {pid} is not node");
    let before = procfs::listening_ports(pid);
    if let Some(port) = before.iter().copied().find(|port| is_inspector(*port)) {
        return Ok((port, false));
    }
    // Without a handler the signal would end the process.
    let handles = procfs::status(pid).is_some_and(|status| status.caught & (1 << (libc::SIGUSR1 - 1)) != 0);
    ensure!(
        handles,
        "process {pid} does not listen to SIGUSR1: its inspector is disabled, or it has just started"
    );
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process number")?;
    kill_process(target, Signal::USR1).with_context(|| format!("could not signal process {pid}"))?;
    let deadline = Instant::now() + OPENING;
    while Instant::now() < deadline {
        wait_for(std::iter::empty(), BETWEEN_LOOKS);
        let fresh = procfs::listening_ports(pid).into_iter().find(|port| !before.contains(port));
        if let Some(port) = fresh.filter(|port| is_inspector(*port)) {
            return Ok((port, true));
        }
    }
    bail!(
        "the inspector of process {pid} did not open: port 9229 may be taken by another one, or its event loop is blocked"
    )
}

fn is_inspector(port: u16) -> bool {
    path_of(port).is_ok()
}

fn connect(port: u16) -> Result<Socket> {
    let path = path_of(port)?;
    Socket::open(dial(port)?, port, &path)
}

fn dial(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, OPENING).context("could not connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The path of the first target, from the inspector's list.
fn path_of(port: u16) -> Result<String> {
    let mut stream = dial(port)?;
    stream.set_read_timeout(Some(OPENING))?;
    write!(stream, "GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let list: Value = serde_json::from_slice(&body(stream)?).context("the list of targets is no JSON")?;
    let url = list[0]["webSocketDebuggerUrl"].as_str().context("there is no target")?;
    let (_, rest) = url.split_once("://").context("the target's address is none")?;
    let (_, path) = rest.split_once('/').context("the target's address has no path")?;
    Ok(format!("/{path}"))
}

/// The body of an HTTP answer that says its length; the inspector keeps the connection open.
fn body(stream: TcpStream) -> Result<Vec<u8>> {
    let mut reader = BufReader::new(stream.take(MAX_LIST_BYTES));
    let mut length = None;
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).context("no HTTP answer")?;
        let line = line.trim_end();
        if read == 0 || line.is_empty() {
            break;
        }
        if let Some((name, value)) =
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = Some(value.trim().parse::<u64>().with_context(|| format!("`{name}` is no number"))?);
        }
    }
    let length =
        length.filter(|length| *length <= MAX_LIST_BYTES).context("the answer does not say its length")?;
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(body)
}

/// The name of a script as it is shown: a path in place of a `file://` address.
pub(crate) fn script(frame: &CallFrame) -> &str {
    let path = frame.url.strip_prefix("file://").unwrap_or(&frame.url);
    if Path::new(path).is_absolute() { path } else { &frame.url }
}
