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

/// Worker threads that are sampled.
const MAX_WORKERS: usize = 64;
/// The number of the thread that evaluates it, in the process's own numbering: reading a link is done on that thread.
const THREAD_NUMBER: &str =
    "(process.getBuiltinModule?.('fs') ?? require('fs')).readlinkSync('/proc/thread-self')";

/// A running profile of V8. Dropping it ends the profile and closes the inspector that it opened.
pub(crate) struct Inspector {
    pub(crate) pid: u32,
    socket: Socket,
    opened: bool,
    next_id: u64,
    workers: Vec<Worker>,
    /// Sampling goes on: a worker that is told of now is not sampled.
    started: bool,
    /// Workers that began later or could not be sampled.
    pub(crate) unseen_workers: usize,
}

/// A thread of `worker_threads`, reached through the main thread's connection.
struct Worker {
    session: String,
    /// Its number as the process sees it, once it is sampled.
    inner_tid: Option<u32>,
}

/// What V8 sampled on one thread.
pub(crate) struct OfThread {
    /// As the process sees it; `None`: its main thread.
    pub(crate) inner_tid: Option<u32>,
    pub(crate) profile: CpuProfile,
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
        let (workers, unseen_workers) = (Vec::new(), 0);
        let mut inspector = Self { pid, socket, opened, next_id: 1, workers, started: false, unseen_workers };
        inspector.call("Profiler.enable", &json!({}))?;
        inspector.call("Profiler.setSamplingInterval", &json!({"interval": INTERVAL_US}))?;
        inspector.call("Profiler.start", &json!({}))?;
        inspector.start_workers();
        inspector.started = true;
        Ok(inspector)
    }

    /// Samples the worker threads that there are. Those that end meanwhile, and Node before 12, have none to tell.
    fn start_workers(&mut self) {
        if self.call("NodeWorker.enable", &json!({"waitForDebuggerOnStart": false})).is_err() {
            return;
        }
        let mut at = 0;
        // More may be told of meanwhile.
        while at < self.workers.len() {
            match self.start_worker(at) {
                Ok(inner_tid) => self.workers[at].inner_tid = Some(inner_tid),
                Err(_) => self.unseen_workers += 1,
            }
            at += 1;
        }
    }

    fn start_worker(&mut self, at: usize) -> Result<u32> {
        let asked = json!({"expression": THREAD_NUMBER, "includeCommandLineAPI": true});
        let answer = self.call_worker(at, "Runtime.evaluate", &asked)?;
        let link = answer["result"]["value"].as_str().context("the worker does not tell its thread")?;
        let number = link.rsplit('/').next().and_then(|number| number.parse().ok());
        let inner_tid = number.context("the worker's thread has no number")?;
        self.call_worker(at, "Profiler.enable", &json!({}))?;
        self.call_worker(at, "Profiler.setSamplingInterval", &json!({"interval": INTERVAL_US}))?;
        self.call_worker(at, "Profiler.start", &json!({}))?;
        Ok(inner_tid)
    }

    /// Ends sampling: the stacks with their times, of the main thread and of those workers that still live.
    pub(crate) fn stop(&mut self) -> Result<Vec<OfThread>> {
        let answer = self.call("Profiler.stop", &json!({}))?;
        let main = OfThread { inner_tid: None, profile: CpuProfile::new(&answer["profile"])? };
        let mut all = vec![main];
        for at in 0..self.workers.len() {
            let Some(inner_tid) = self.workers[at].inner_tid else { continue };
            let answer = self.call_worker(at, "Profiler.stop", &json!({}));
            match answer.and_then(|answer| CpuProfile::new(&answer["profile"])) {
                Ok(profile) => all.push(OfThread { inner_tid: Some(inner_tid), profile }),
                Err(_) => self.unseen_workers += 1,
            }
        }
        Ok(all)
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        let id = self.send(method, parameters)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let answer = self.hear()?;
            if answer["id"].as_u64() == Some(id) {
                return result(method, &answer);
            }
        }
        bail!("{method} was not answered within {} s", PATIENCE.as_secs())
    }

    /// The same in a worker: the main thread hands the message over, and what comes back.
    fn call_worker(&mut self, at: usize, method: &str, parameters: &Value) -> Result<Value> {
        let session = self.workers[at].session.clone();
        let id = self.next_id;
        self.next_id += 1;
        let message = json!({"id": id, "method": method, "params": parameters}).to_string();
        let sent =
            self.send("NodeWorker.sendMessageToWorker", &json!({"sessionId": session, "message": message}))?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let heard = self.hear()?;
            let refused = heard["id"].as_u64() == Some(sent) && heard["error"].is_object();
            let of_this = heard["params"]["sessionId"].as_str() == Some(session.as_str());
            if refused || (of_this && heard["method"] == "NodeWorker.detachedFromWorker") {
                bail!("the worker has ended");
            }
            if of_this && let Some(text) = heard["params"]["message"].as_str() {
                let answer: Value = serde_json::from_str(text).context("a worker's answer is no JSON")?;
                if answer["id"].as_u64() == Some(id) {
                    return result(method, &answer);
                }
            }
        }
        bail!("{method} was not answered by a worker within {} s", PATIENCE.as_secs())
    }

    /// The next message, remembering the workers that it tells of.
    fn hear(&mut self) -> Result<Value> {
        let message: Value =
            serde_json::from_slice(&self.socket.receive()?).context("an answer is no JSON")?;
        if message["method"] == "NodeWorker.attachedToWorker"
            && let Some(session) = message["params"]["sessionId"].as_str()
        {
            if self.workers.len() < MAX_WORKERS && !self.started {
                self.workers.push(Worker { session: session.to_owned(), inner_tid: None });
            } else {
                self.unseen_workers += 1;
            }
        }
        Ok(message)
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
        if !self.workers.is_empty() {
            drop(self.call("NodeWorker.disable", &json!({})));
        }
        drop(self.call("Profiler.disable", &json!({})));
        if self.opened {
            drop(self.send("Runtime.evaluate", &json!({"expression": "process._debugEnd()"})));
            // The answer, or the end of the connection, says that it was done.
            drop(self.socket.receive());
        }
    }
}

fn result(method: &str, answer: &Value) -> Result<Value> {
    if let Some(message) = answer["error"]["message"].as_str() {
        bail!("{method} was refused: {message}");
    }
    Ok(answer["result"].clone())
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
