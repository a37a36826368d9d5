//! Which attribute key means what, in every generation of the semantic conventions that is still sent.
//! Each meaning is resolved separately, newest spelling first: libraries mix generations in one span.

use model::{PackedValue, SpanTable, Sym, Value};

/// What an attribute says. The number is its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    DbSystem,
    QueryText,
    QuerySummary,
    DbOperation,
    DbCollection,
    Rows,
    Parameter,
    BatchSize,
    HttpMethod,
    HttpStatus,
    UrlFull,
    UrlPath,
    UrlQuery,
    Route,
    ResponseBytes,
    Peer,
    PeerPort,
    RpcSystem,
    RpcService,
    RpcMethod,
    MessagingSystem,
    CodeFunction,
    CodeNamespace,
    CodeFile,
    CodeLine,
    BusyNs,
    Error,
    StatusCode,
    SpanKind,
    Service,
    Instance,
    Language,
    Resend,
    /// Share of requests that were kept, 0 to 1.
    SampledShare,
    /// Requests that the one stands for.
    SampledCount,
    TraceState,
    /// Read by rules, on single spans.
    Other,
}

const MEANINGS: usize = Meaning::Other as usize + 1;

/// Key and meaning; within a meaning, the earlier key wins. A key that ends in `.` stands for all that begin so.
const TABLE: &[(&str, Meaning)] = &[
    ("db.system.name", Meaning::DbSystem),
    ("db.system", Meaning::DbSystem),
    ("db.type", Meaning::DbSystem),
    ("db.query.text", Meaning::QueryText),
    ("db.statement", Meaning::QueryText),
    ("sql.query", Meaning::QueryText),
    ("cassandra.query", Meaning::QueryText),
    ("db.query.summary", Meaning::QuerySummary),
    ("resource.name", Meaning::QuerySummary),
    ("db.operation.name", Meaning::DbOperation),
    ("db.operation", Meaning::DbOperation),
    ("db.collection.name", Meaning::DbCollection),
    ("db.sql.table", Meaning::DbCollection),
    ("db.mongodb.collection", Meaning::DbCollection),
    ("db.cassandra.table", Meaning::DbCollection),
    ("db.cosmosdb.container", Meaning::DbCollection),
    ("db.response.returned_rows", Meaning::Rows),
    ("db.response.affected_rows", Meaning::Rows),
    ("db.query.parameter.", Meaning::Parameter),
    ("db.statement.parameters", Meaning::Parameter),
    ("db.postgresql.values", Meaning::Parameter),
    ("db.operation.parameter.", Meaning::Parameter),
    ("db.operation.batch.size", Meaning::BatchSize),
    ("db.redis.pipeline_length", Meaning::BatchSize),
    ("messaging.batch.message_count", Meaning::BatchSize),
    ("http.request.method", Meaning::HttpMethod),
    ("http.method", Meaning::HttpMethod),
    ("http.response.status_code", Meaning::HttpStatus),
    ("http.status_code", Meaning::HttpStatus),
    ("url.full", Meaning::UrlFull),
    ("http.url", Meaning::UrlFull),
    ("url", Meaning::UrlFull),
    ("url.path", Meaning::UrlPath),
    ("http.target", Meaning::UrlPath),
    ("http.path", Meaning::UrlPath),
    ("url.query", Meaning::UrlQuery),
    ("http.route", Meaning::Route),
    ("url.template", Meaning::Route),
    ("http.response.body.size", Meaning::ResponseBytes),
    ("http.response.header.content-length", Meaning::ResponseBytes),
    ("http.response.header.content_length", Meaning::ResponseBytes),
    ("http.response_content_length", Meaning::ResponseBytes),
    ("http.response_content_length_uncompressed", Meaning::ResponseBytes),
    ("response_size", Meaning::ResponseBytes),
    ("messaging.message.body.size", Meaning::ResponseBytes),
    ("server.address", Meaning::Peer),
    ("net.peer.name", Meaning::Peer),
    ("net.sock.peer.name", Meaning::Peer),
    ("network.peer.address", Meaning::Peer),
    ("service.peer.name", Meaning::Peer),
    ("peer.service", Meaning::Peer),
    ("http.host", Meaning::Peer),
    ("upstream_cluster", Meaning::Peer),
    ("server.port", Meaning::PeerPort),
    ("net.peer.port", Meaning::PeerPort),
    ("network.peer.port", Meaning::PeerPort),
    ("rpc.system.name", Meaning::RpcSystem),
    ("rpc.system", Meaning::RpcSystem),
    ("rpc.service", Meaning::RpcService),
    ("rpc.method", Meaning::RpcMethod),
    ("grpc.method", Meaning::RpcMethod),
    ("messaging.system", Meaning::MessagingSystem),
    ("code.function.name", Meaning::CodeFunction),
    ("code.function", Meaning::CodeFunction),
    ("code.namespace", Meaning::CodeNamespace),
    ("code.module.name", Meaning::CodeNamespace),
    ("code.file.path", Meaning::CodeFile),
    ("code.filepath", Meaning::CodeFile),
    ("code.line.number", Meaning::CodeLine),
    ("code.lineno", Meaning::CodeLine),
    ("busy_ns", Meaning::BusyNs),
    ("error.type", Meaning::Error),
    ("error", Meaning::Error),
    ("otel.status_code", Meaning::StatusCode),
    ("status.code", Meaning::StatusCode),
    ("span.kind", Meaning::SpanKind),
    ("service.name", Meaning::Service),
    ("service.instance.id", Meaning::Instance),
    ("k8s.pod.name", Meaning::Instance),
    ("container.id", Meaning::Instance),
    ("host.name", Meaning::Instance),
    ("telemetry.sdk.language", Meaning::Language),
    ("telemetry.source", Meaning::Other),
    ("graphql.operation.name", Meaning::Other),
    ("http.request.resend_count", Meaning::Resend),
    ("http.resend_count", Meaning::Resend),
    ("sampling.probability", Meaning::SampledShare),
    ("sampler.param", Meaning::SampledShare),
    ("sampling.adjusted_count", Meaning::SampledCount),
    ("SampleRate", Meaning::SampledCount),
    ("tracestate", Meaning::TraceState),
    ("http.response.header.content-type", Meaning::Other),
    ("http.response.header.content_type", Meaning::Other),
    ("http.response.header.content-encoding", Meaning::Other),
    ("http.response.header.content_encoding", Meaning::Other),
    ("http.response.header.etag", Meaning::Other),
    ("http.response.header.last-modified", Meaning::Other),
    ("http.response.header.last_modified", Meaning::Other),
    ("http.response.header.cache-control", Meaning::Other),
    ("http.response.header.cache_control", Meaning::Other),
    ("http.request.header.accept-encoding", Meaning::Other),
    ("http.request.header.accept_encoding", Meaning::Other),
    ("http.request.header.authorization", Meaning::Other),
    ("http.request.header.cookie", Meaning::Other),
    ("user.id", Meaning::Other),
    ("enduser.id", Meaning::Other),
    ("customer.id", Meaning::Other),
    ("tenant.id", Meaning::Other),
    ("feature_flag.key", Meaning::Other),
    ("feature_flag.result.variant", Meaning::Other),
    ("feature_flag.variant", Meaning::Other),
];

/// Every attribute key that the diagnosis reads, for readers that project. A key that ends in `.` is a prefix.
pub const ATTRIBUTES: &[&str] = &{
    let mut keys = [""; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        keys[at] = TABLE[at].0;
        at += 1;
    }
    keys
};

/// A key's entry in the table; `NONE` for one that means nothing to us.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u8);

impl Entry {
    const UNSEEN: Self = Self(u8::MAX);
    const NONE: Self = Self(u8::MAX - 1);
}

/// The entries of one table's keys, found once per key.
pub(crate) struct Keys {
    entries: Vec<Entry>,
}

impl Keys {
    pub(crate) fn new(table: &SpanTable) -> Self {
        Self { entries: vec![Entry::UNSEEN; table.strings.len()] }
    }

    fn entry(&mut self, table: &SpanTable, key: Sym) -> Entry {
        let Some(known) = self.entries.get(key.index()).copied() else { return Entry::NONE };
        if known != Entry::UNSEEN {
            return known;
        }
        let found = entry_of(table.strings.get(key));
        self.entries[key.index()] = found;
        found
    }
}

fn entry_of(key: &str) -> Entry {
    let matches = |known: &str| known == key || (known.ends_with('.') && key.starts_with(known));
    TABLE
        .iter()
        .position(|(known, _)| matches(known))
        .map_or(Entry::NONE, |at| Entry(u8::try_from(at).unwrap_or(Entry::NONE.0)))
}

/// The values of one span by meaning, the newest spelling of each.
pub(crate) struct Slots {
    values: [Option<PackedValue>; MEANINGS],
    ranks: [u8; MEANINGS],
    used: Vec<u8>,
    /// Keys and values of every parameter, in the order sent.
    pub(crate) parameters: Vec<(Sym, PackedValue)>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            values: [None; MEANINGS],
            ranks: [u8::MAX; MEANINGS],
            used: Vec::new(),
            parameters: Vec::new(),
        }
    }
}

impl Slots {
    /// Reads the attributes of a row or of a resource, forgetting what was there before.
    pub(crate) fn read(&mut self, table: &SpanTable, keys: &mut Keys, attributes: &[model::Attribute]) {
        for slot in self.used.drain(..) {
            self.values[slot as usize] = None;
            self.ranks[slot as usize] = u8::MAX;
        }
        self.parameters.clear();
        for attribute in attributes {
            let entry = keys.entry(table, attribute.key);
            if entry == Entry::NONE {
                continue;
            }
            let slot = TABLE[entry.0 as usize].1 as usize;
            if slot == Meaning::Parameter as usize {
                self.parameters.push((attribute.key, attribute.value));
            } else if entry.0 < self.ranks[slot] {
                self.values[slot] = Some(attribute.value);
                self.ranks[slot] = entry.0;
                #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 256 meanings")]
                self.used.push(slot as u8);
            }
        }
    }

    pub(crate) fn get(&self, meaning: Meaning) -> Option<PackedValue> {
        self.values[meaning as usize]
    }

    pub(crate) fn has(&self, meaning: Meaning) -> bool {
        self.values[meaning as usize].is_some()
    }

    pub(crate) fn text<'a>(&self, table: &'a SpanTable, meaning: Meaning) -> Option<&'a str> {
        let value = self.values[meaning as usize]?;
        value.as_sym().map(|sym| table.strings.get(sym)).filter(|text| !text.is_empty())
    }

    pub(crate) fn number(&self, table: &SpanTable, meaning: Meaning) -> Option<f64> {
        match table.unpack(self.values[meaning as usize]?) {
            Value::Text(text) => Value::Text(only(text)).as_number(),
            value => value.as_number(),
        }
    }
}

/// Headers come as lists: the text of the only element of one, else the text as it is.
fn only(text: &str) -> &str {
    let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    inner.map_or(text, |t| t.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_listed_once() {
        let mut keys = ATTRIBUTES.to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), ATTRIBUTES.len());
        assert!(TABLE.len() < Entry::NONE.0 as usize);
    }

    #[test]
    fn a_list_of_one_is_its_element() {
        assert_eq!(only(r#"["1049"]"#), "1049");
        assert_eq!(only("[7]"), "7");
        assert_eq!(only("12"), "12");
        assert_eq!(only(r#"["1","2"]"#), r#"1","2"#);
    }
}
