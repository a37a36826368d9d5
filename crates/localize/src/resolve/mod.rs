//! Pass 0: what each span is, whatever generation of conventions it was written in.
//! One pass over the table; every text is understood once per symbol. Nothing is judged here.

mod attributes;
mod sampling;
mod template;

use attributes::{Keys, Meaning, Slots};
use hashbrown::HashMap;
use model::{CodeRef, PackedValue, ResourceId, SpanKind, SpanStatus, SpanTable, Strings, Sym, Value};

pub use attributes::ATTRIBUTES;

/// What kind of work a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A request handled: the entry of a service.
    Server,
    /// A statement on a database.
    Db,
    /// An HTTP request sent.
    Http,
    /// A remote procedure called.
    Rpc,
    /// A command on a key-value store.
    Cache,
    /// A message sent or received.
    Messaging,
    /// A connection made or waited for.
    Pool,
    /// Something in a browser.
    Browser,
    /// A function, middleware or anything else within a process.
    Internal,
}

impl Class {
    /// A call that leaves the process.
    #[must_use]
    pub fn is_call(self) -> bool {
        matches!(self, Self::Db | Self::Http | Self::Rpc | Self::Cache | Self::Messaging)
    }

    /// A call that never has a span of ours below it.
    #[must_use]
    pub fn is_storage(self) -> bool {
        matches!(self, Self::Db | Self::Cache)
    }

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Db => "db",
            Self::Http => "http",
            Self::Rpc => "rpc",
            Self::Cache => "cache",
            Self::Messaging => "messaging",
            Self::Pool => "pool",
            Self::Browser => "browser",
            Self::Internal => "internal",
        }
    }
}

/// One span, understood. Symbols belong to [`Calls::names`].
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub class: Class,
    /// The span says so itself; `false` where the class was guessed and the tree may know better.
    pub(crate) class_sent: bool,
    pub error: bool,
    /// HTTP status; 0 where none was sent.
    pub status: u16,
    pub service: Sym,
    /// What stays the same when the same code runs again: statement, method and path, service and method, name.
    pub template: Sym,
    /// Database system, host or service that is called, as far as the span says; else empty.
    pub peer: Sym,
    params: u64,
    rows: f32,
    bytes: f32,
    batch: f32,
    busy_ns: f32,
    code: u32,
}

impl Call {
    /// A hash of the parameters: equal for equal calls. `None` where the parameters were not sent.
    #[must_use]
    pub fn params(&self) -> Option<u64> {
        (self.params != UNKNOWN_PARAMS).then_some(self.params)
    }

    /// Rows returned or affected.
    #[must_use]
    pub fn rows(&self) -> Option<f64> {
        Some(f64::from(self.rows)).filter(|n| !n.is_nan())
    }

    /// Bytes of the response's body.
    #[must_use]
    pub fn bytes(&self) -> Option<f64> {
        Some(f64::from(self.bytes)).filter(|n| !n.is_nan())
    }

    /// Commands, statements or messages that travelled in this one call.
    #[must_use]
    pub fn batch(&self) -> Option<f64> {
        Some(f64::from(self.batch)).filter(|n| !n.is_nan())
    }

    /// Nanoseconds on the CPU, where the instrumentation tells busy from idle.
    #[must_use]
    pub fn busy_ns(&self) -> Option<f64> {
        Some(f64::from(self.busy_ns)).filter(|n| !n.is_nan())
    }
}

const UNKNOWN_PARAMS: u64 = 0;
const NO_CODE: u32 = u32::MAX;

/// Every row of a span table, understood, in the table's order.
pub struct Calls {
    pub rows: Vec<Call>,
    pub names: Strings,
    codes: Vec<CodeRef>,
    /// Database spans without a statement, operation or summary: nothing to tell them apart by.
    pub without_statement: u64,
    pub database_spans: u64,
    /// By resource: its service, and the instance of it.
    instances: Vec<(Sym, Sym)>,
    /// By row, of those only that are more than one: requests that the span stands for.
    weights: HashMap<u32, f32>,
    /// By row: how often the request had been sent before.
    resent: HashMap<u32, u16>,
}

impl Calls {
    /// The instance of the service that made a resource's spans; empty where it does not say.
    #[must_use]
    pub fn instance(&self, resource: ResourceId) -> Sym {
        self.instances.get(resource.0 as usize).map_or(Sym::EMPTY, |r| r.1)
    }

    /// The service of a resource.
    #[must_use]
    pub fn service(&self, resource: ResourceId) -> &str {
        self.instances.get(resource.0 as usize).map_or("", |r| self.name(r.0))
    }

    /// How many requests a row stands for, by its sampler; 1 where none told.
    #[must_use]
    pub fn weight(&self, row: u32) -> f64 {
        self.weights.get(&row).map_or(1.0, |w| f64::from(*w))
    }

    /// How often a request had been sent before, as the client tells; 0 where it does not.
    #[must_use]
    pub fn resent(&self, row: u32) -> u16 {
        self.resent.get(&row).copied().unwrap_or(0)
    }

    #[must_use]
    pub fn name(&self, sym: Sym) -> &str {
        self.names.get(sym)
    }

    /// Where in the code the span was made, if it says so.
    #[must_use]
    pub fn code(&self, call: &Call) -> Option<&CodeRef> {
        self.codes.get(call.code as usize)
    }
}

/// Understands every span of a table.
#[must_use]
pub fn resolve(table: &SpanTable) -> Calls {
    let mut resolver = Resolver::new(table);
    let mut rows = Vec::with_capacity(table.len());
    for row in 0..table.len() {
        rows.push(resolver.row(row));
    }
    let instances = resolver.resources.iter().map(|r| (r.service, r.instance)).collect();
    let Resolver { names, codes, without_statement, database_spans, weights, resent, .. } = resolver;
    Calls { rows, names, codes, without_statement, database_spans, instances, weights, resent }
}

/// A text understood: its template, and the hash of what the template left out.
#[derive(Clone, Copy)]
struct Understood {
    template: Sym,
    params: u64,
}

#[derive(Clone, Copy, Default)]
struct Resource {
    service: Sym,
    instance: Sym,
    browser: bool,
}

/// Function, namespace and file as sent, and the line.
type CodeKey = (Sym, Option<Sym>, Option<Sym>, Option<u32>);

struct Resolver<'a> {
    table: &'a SpanTable,
    keys: Keys,
    slots: Slots,
    names: Strings,
    resources: Vec<Resource>,
    /// By (which reading of it, symbol of the text).
    texts: HashMap<(Reading, Sym), Understood>,
    /// By (first, second symbol in `names`): two parts joined.
    joined: HashMap<(Sym, Sym, char), Sym>,
    code_numbers: HashMap<CodeKey, u32>,
    codes: Vec<CodeRef>,
    without_statement: u64,
    database_spans: u64,
    weights: HashMap<u32, f32>,
    resent: HashMap<u32, u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reading {
    Statement,
    Command,
    Url,
    Path,
    Plain,
    Name,
}

/// A count or size beyond this is nonsense and not read.
const MAX_SIZE: f64 = 1e15;
/// More texts than this are understood again each time, so that a hostile recording cannot fill the memory.
const MAX_CACHED_TEXTS: usize = 1 << 20;

impl<'a> Resolver<'a> {
    fn new(table: &'a SpanTable) -> Self {
        let mut resolver = Self {
            table,
            keys: Keys::new(table),
            slots: Slots::default(),
            names: Strings::default(),
            resources: Vec::new(),
            texts: HashMap::new(),
            joined: HashMap::new(),
            code_numbers: HashMap::new(),
            codes: Vec::new(),
            without_statement: 0,
            database_spans: 0,
            weights: HashMap::new(),
            resent: HashMap::new(),
        };
        for number in 0..table.resource_count() {
            let resource = resolver.resource(ResourceId(u32::try_from(number).unwrap_or(u32::MAX)));
            resolver.resources.push(resource);
        }
        resolver
    }

    fn resource(&mut self, id: ResourceId) -> Resource {
        self.slots.read(self.table, &mut self.keys, self.table.packed_resource(id));
        let service = self.slots.text(self.table, Meaning::Service).unwrap_or("");
        let browser = self.slots.text(self.table, Meaning::Language) == Some("webjs");
        let instance = self.slots.text(self.table, Meaning::Instance).unwrap_or("");
        Resource { service: self.names.intern(service), instance: self.names.intern(instance), browser }
    }

    fn row(&mut self, row: usize) -> Call {
        let table = self.table;
        self.slots.read(table, &mut self.keys, table.packed_attributes(row));
        let resource = self.resources.get(table.resources[row].0 as usize).copied().unwrap_or_default();
        let kind = self.kind(table.kinds[row]);
        let (class, class_sent) = self.class(row, kind, resource.browser);
        let understood = self.understood(row, class);
        let params = self.with_parameters(understood.params);
        self.note_rare(row);
        Call {
            class,
            class_sent,
            error: self.error(table.statuses[row]),
            status: self.status(),
            service: resource.service,
            template: understood.template,
            peer: self.peer(class),
            params,
            rows: self.number(Meaning::Rows),
            bytes: self.number(Meaning::ResponseBytes),
            batch: self.number(Meaning::BatchSize),
            busy_ns: self.number(Meaning::BusyNs),
            code: self.code(),
        }
    }

    /// What few spans tell is kept aside.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    fn note_rare(&mut self, row: usize) {
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        if let Some(weight) = sampling::weight(&self.slots, self.table) {
            self.weights.insert(row, weight as f32);
        }
        let resent = self.slots.number(self.table, Meaning::Resend).filter(|n| *n >= 1.0);
        if let Some(resent) = resent {
            self.resent.insert(row, resent.min(f64::from(u16::MAX)) as u16);
        }
    }

    /// The kind as sent, or as the old tag `span.kind` says.
    fn kind(&self, sent: SpanKind) -> SpanKind {
        if sent != SpanKind::Unspecified {
            return sent;
        }
        match self.slots.text(self.table, Meaning::SpanKind) {
            Some("server") => SpanKind::Server,
            Some("client") => SpanKind::Client,
            Some("producer") => SpanKind::Producer,
            Some("consumer") => SpanKind::Consumer,
            Some("internal") => SpanKind::Internal,
            _ => SpanKind::Unspecified,
        }
    }

    fn class(&self, row: usize, kind: SpanKind, browser: bool) -> (Class, bool) {
        let slots = &self.slots;
        if kind == SpanKind::Server {
            return (Class::Server, true);
        }
        let name = self.table.strings.get(self.table.names[row]);
        if is_pool(name) {
            return (Class::Pool, true);
        }
        if let Some(system) = slots.text(self.table, Meaning::DbSystem) {
            return (if is_key_value(system) { Class::Cache } else { Class::Db }, true);
        }
        if slots.has(Meaning::QueryText) || name.starts_with("sql.") {
            return (Class::Db, true);
        }
        if matches!(kind, SpanKind::Producer | SpanKind::Consumer) || slots.has(Meaning::MessagingSystem) {
            return (Class::Messaging, true);
        }
        let rpc = slots.has(Meaning::RpcSystem) || slots.has(Meaning::RpcMethod);
        let http = slots.has(Meaning::HttpMethod) || slots.has(Meaning::UrlFull);
        match kind {
            SpanKind::Client if rpc => (Class::Rpc, true),
            SpanKind::Client if http || !looks_like_rpc(name) => (Class::Http, true),
            SpanKind::Client => (Class::Rpc, true),
            SpanKind::Unspecified if slots.has(Meaning::Route) => (Class::Server, true),
            SpanKind::Unspecified if rpc => (Class::Rpc, false),
            SpanKind::Unspecified if http && slots.has(Meaning::UrlFull) => (Class::Http, false),
            SpanKind::Unspecified if looks_like_rpc(name) => (Class::Rpc, false),
            _ if browser => (Class::Browser, true),
            SpanKind::Unspecified => (Class::Internal, false),
            _ => (Class::Internal, true),
        }
    }

    fn understood(&mut self, row: usize, class: Class) -> Understood {
        let name = self.table.names[row];
        match class {
            Class::Db => self.database(name),
            Class::Cache => self.cache(name),
            Class::Http => self.http_client(name),
            Class::Server => self.server(name),
            Class::Rpc => self.rpc(name),
            Class::Messaging => self.messaging(name),
            Class::Pool | Class::Browser | Class::Internal => self.text(Reading::Name, name),
        }
    }

    fn database(&mut self, name: Sym) -> Understood {
        self.database_spans += 1;
        if let Some(sym) = self.sym(Meaning::QueryText) {
            return self.text(Reading::Statement, sym);
        }
        if let Some(sym) = self.sym(Meaning::QuerySummary) {
            return self.text(Reading::Plain, sym);
        }
        let parts = (self.sym(Meaning::DbOperation), self.sym(Meaning::DbCollection));
        if let (Some(operation), collection) = parts {
            return self.two(operation, collection, Reading::Plain);
        }
        self.without_statement += 1;
        self.text(Reading::Name, name)
    }

    fn cache(&mut self, name: Sym) -> Understood {
        match (self.sym(Meaning::QueryText), self.sym(Meaning::DbOperation)) {
            (Some(text), _) => self.text(Reading::Command, text),
            (None, Some(operation)) => self.text(Reading::Plain, operation),
            (None, None) => self.text(Reading::Name, name),
        }
    }

    fn http_client(&mut self, name: Sym) -> Understood {
        let method = self.sym(Meaning::HttpMethod);
        let url = self.sym(Meaning::UrlFull);
        let (Some(method), Some(url)) = (method, url) else { return self.http_by_parts(name) };
        let url = self.text(Reading::Url, url);
        let method = self.text(Reading::Plain, method);
        Understood { template: self.join(method.template, url.template, ' '), params: url.params }
    }

    /// A client span without a full URL: method, peer and path, as far as they go; else its name.
    fn http_by_parts(&mut self, name: Sym) -> Understood {
        let Some(path) = self.sym(Meaning::UrlPath).or_else(|| self.sym(Meaning::Route)) else {
            return self.text(Reading::Name, name);
        };
        let path = self.text(Reading::Path, path);
        let peer = self.peer(Class::Http);
        let place = self.join(peer, path.template, '\0');
        let template = match self.sym(Meaning::HttpMethod) {
            Some(method) => {
                let method = self.text(Reading::Plain, method).template;
                self.join(method, place, ' ')
            }
            None => place,
        };
        Understood { template, params: path.params }
    }

    fn server(&mut self, name: Sym) -> Understood {
        if self.slots.has(Meaning::RpcMethod) {
            return self.rpc(name);
        }
        let Some(method) = self.sym(Meaning::HttpMethod) else { return self.text(Reading::Name, name) };
        let path = match (self.sym(Meaning::Route), self.sym(Meaning::UrlPath), self.sym(Meaning::UrlFull)) {
            (Some(route), _, _) => self.text(Reading::Plain, route),
            (None, Some(path), _) => self.text(Reading::Path, path),
            (None, None, Some(url)) => self.text(Reading::Url, url),
            (None, None, None) => return self.text(Reading::Name, name),
        };
        let method = self.text(Reading::Plain, method);
        Understood { template: self.join(method.template, path.template, ' '), params: path.params }
    }

    fn rpc(&mut self, name: Sym) -> Understood {
        match (self.sym(Meaning::RpcService), self.sym(Meaning::RpcMethod)) {
            (Some(service), Some(method)) => {
                let service = self.text(Reading::Plain, service).template;
                let method = self.text(Reading::Plain, method).template;
                Understood { template: self.join(service, method, '/'), params: UNKNOWN_PARAMS }
            }
            (None, Some(method)) => self.unknown(Reading::Plain, method),
            _ => self.unknown(Reading::Name, name),
        }
    }

    fn messaging(&mut self, name: Sym) -> Understood {
        self.unknown(Reading::Name, name)
    }

    /// A text whose calls do not say their parameters.
    fn unknown(&mut self, reading: Reading, sym: Sym) -> Understood {
        Understood { params: UNKNOWN_PARAMS, ..self.text(reading, sym) }
    }

    fn two(&mut self, first: Sym, second: Option<Sym>, reading: Reading) -> Understood {
        let first = self.text(reading, first).template;
        let Some(second) = second else { return Understood { template: first, params: UNKNOWN_PARAMS } };
        let second = self.text(reading, second).template;
        Understood { template: self.join(first, second, ' '), params: UNKNOWN_PARAMS }
    }

    fn sym(&self, meaning: Meaning) -> Option<Sym> {
        let sym = self.slots.get(meaning).and_then(PackedValue::as_sym)?;
        (!self.table.strings.get(sym).is_empty()).then_some(sym)
    }

    fn text(&mut self, reading: Reading, sym: Sym) -> Understood {
        if let Some(&known) = self.texts.get(&(reading, sym)) {
            return known;
        }
        let understood = read(reading, self.table.strings.get(sym), &mut self.names);
        if self.texts.len() < MAX_CACHED_TEXTS {
            self.texts.insert((reading, sym), understood);
        }
        understood
    }

    /// Two texts with `between` (nothing, if that is `\0`).
    fn join(&mut self, first: Sym, second: Sym, between: char) -> Sym {
        if let Some(&known) = self.joined.get(&(first, second, between)) {
            return known;
        }
        let (left, right) = (self.names.get(first), self.names.get(second));
        let text = if between == '\0' { format!("{left}{right}") } else { format!("{left}{between}{right}") };
        let joined = self.names.intern(&text);
        self.joined.insert((first, second, between), joined);
        joined
    }

    fn with_parameters(&self, params: u64) -> u64 {
        if self.slots.parameters.is_empty() {
            return params;
        }
        // Parameters come in any order: their hashes are added up.
        let sum = self.slots.parameters.iter().fold(0_u64, |sum, (key, value)| {
            let key = hash(self.table.strings.get(*key).as_bytes(), SEED);
            sum.wrapping_add(hash_value(self.table.unpack(*value), key))
        });
        known(params ^ sum)
    }

    fn peer(&mut self, class: Class) -> Sym {
        let meaning = if class.is_storage() { Meaning::DbSystem } else { Meaning::Peer };
        match self.sym(meaning) {
            Some(sym) => self.text(Reading::Plain, sym).template,
            None => Sym::EMPTY,
        }
    }

    fn error(&self, status: SpanStatus) -> bool {
        if status == SpanStatus::Error {
            return true;
        }
        let sent = match self.slots.get(Meaning::Error).map(|v| self.table.unpack(v)) {
            Some(Value::Bool(truth)) => truth,
            Some(Value::Text(text)) => !matches!(text, "" | "false"),
            _ => false,
        };
        sent || self
            .slots
            .text(self.table, Meaning::StatusCode)
            .is_some_and(|code| code.eq_ignore_ascii_case("error"))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..999")]
    fn status(&self) -> u16 {
        self.slots.number(self.table, Meaning::HttpStatus).map_or(0, |n| n.clamp(0.0, 999.0) as u16)
    }

    #[expect(clippy::cast_possible_truncation, reason = "sizes and counts need no more than seven digits")]
    fn number(&self, meaning: Meaning) -> f32 {
        self.slots
            .number(self.table, meaning)
            .filter(|n| (0.0..=MAX_SIZE).contains(n))
            .map_or(f32::NAN, |n| n as f32)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a line is a small number")]
    fn code(&mut self) -> u32 {
        let Some(function) = self.sym(Meaning::CodeFunction).or_else(|| self.sym(Meaning::CodeFile)) else {
            return NO_CODE;
        };
        let (namespace, file) = (self.sym(Meaning::CodeNamespace), self.sym(Meaning::CodeFile));
        let line = self.slots.number(self.table, Meaning::CodeLine).filter(|n| *n >= 1.0).map(|l| l as u32);
        let key = (function, namespace, file, line);
        if let Some(&number) = self.code_numbers.get(&key) {
            return number;
        }
        let text = |sym: Sym| self.table.strings.get(sym).to_owned();
        let name = match namespace {
            Some(namespace) => format!("{}.{}", text(namespace), text(function)),
            None => text(function),
        };
        let code = CodeRef { function: name, file: file.map(text), line };
        self.codes.push(code);
        let number = u32::try_from(self.codes.len() - 1).unwrap_or(NO_CODE);
        self.code_numbers.insert(key, number);
        number
    }
}

fn read(reading: Reading, text: &str, names: &mut Strings) -> Understood {
    let exact = || known(hash(text.as_bytes(), SEED));
    match reading {
        Reading::Statement => {
            let template = template::statement(text);
            let params = if template::hides_parameters(text) { UNKNOWN_PARAMS } else { exact() };
            Understood { template: names.intern(&template), params }
        }
        Reading::Command => {
            let sanitised = text.contains('?') || !text.trim().contains(' ');
            let params = if sanitised { UNKNOWN_PARAMS } else { exact() };
            Understood { template: names.intern(&template::command(text)), params }
        }
        Reading::Url => Understood { template: names.intern(&template::url(text)), params: exact() },
        Reading::Path => Understood { template: names.intern(&template::path(text)), params: exact() },
        Reading::Plain => Understood { template: names.intern(text), params: UNKNOWN_PARAMS },
        Reading::Name => Understood { template: names.intern(&template::name(text)), params: UNKNOWN_PARAMS },
    }
}

fn is_key_value(system: &str) -> bool {
    matches!(system, "redis" | "memcached" | "valkey" | "keydb" | "dragonfly" | "hazelcast")
}

/// Names by which instrumentations call the taking or making of a connection.
fn is_pool(name: &str) -> bool {
    matches!(
        name,
        "pg-pool.connect"
            | "pg.connect"
            | "connect"
            | "prisma:engine:connection"
            | "sql.connector.connect"
            | "pool.acquire"
            | "tcp.connect"
            | "tls.connect"
            | "db.connect"
            | "redis-connect"
    )
}

/// `package.Service/Method`, as gRPC libraries name spans.
fn looks_like_rpc(name: &str) -> bool {
    let name = name.strip_prefix("grpc.").unwrap_or(name);
    let Some((service, method)) = name.trim_start_matches('/').split_once('/') else { return false };
    let word =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'));
    word(service) && word(method) && service.contains('.')
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same on every machine, run and version.
pub(crate) fn hash(bytes: &[u8], seed: u64) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn hash_value(value: Value<'_>, seed: u64) -> u64 {
    match value {
        Value::Text(text) => hash(text.as_bytes(), seed),
        Value::Int(int) => hash(&int.to_le_bytes(), seed),
        Value::Float(float) => hash(&float.to_bits().to_le_bytes(), seed),
        Value::Bool(truth) => hash(&[u8::from(truth)], seed),
    }
}

fn known(hash: u64) -> u64 {
    if hash == UNKNOWN_PARAMS { 1 } else { hash }
}

/// A statement for looking it up: the database's own text and a span's template of one statement are equal so.
#[must_use]
pub(crate) fn statement_key(text: &str) -> String {
    template::bare(text)
}

/// Whether the values of a statement are not in its text.
#[must_use]
pub(crate) fn hides_parameters(text: &str) -> bool {
    template::hides_parameters(text)
}

#[cfg(test)]
mod tests;
