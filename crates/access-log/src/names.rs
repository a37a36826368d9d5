//! What the keys of JSON lines and `key=value` lines mean, whatever they are called.
//! A key is compared without case, dashes, dots and underscores: `response_time`, `responseTime`, `Response-Time`.

use crate::fields::{Field, Unit};

/// A key's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) field: Field,
    /// 0 is best: of several keys for one field, that one counts.
    pub(crate) rank: u8,
    /// Of durations, where the name tells it or only one program writes it so.
    pub(crate) unit: Option<Unit>,
}

/// Spellings of each field, best first.
const NAMES: &[(Field, &[&str])] = &[
    (
        Field::Time,
        &[
            "timestamp",
            "time",
            "ts",
            "datetime",
            "timeiso8601",
            "timelocal",
            "msec",
            "eventtime",
            "startutc",
            "starttime",
            "requesttimestamp",
            "date",
            "asctime",
            "t",
        ],
    ),
    (
        Field::Method,
        &[
            "method",
            "requestmethod",
            "httpmethod",
            "httprequestmethod",
            "reqmethod",
            "verb",
            "requestverb",
            "csmethod",
        ],
    ),
    (
        Field::Target,
        &[
            "requesturi",
            "uri",
            "requesturl",
            "httprequestrequesturl",
            "originalurl",
            "url",
            "urlfull",
            "urloriginal",
            "httpurl",
            "httptarget",
            "target",
            "requesttarget",
            "requestpath",
            "path",
            "urlpath",
            "httppath",
            "csuristem",
        ],
    ),
    (Field::Query, &["query", "querystring", "args", "urlquery", "requestquery", "csuriquery"]),
    (Field::RequestLine, &["request", "requestline"]),
    (
        Field::Route,
        &[
            "httproute",
            "route",
            "routepath",
            "routepattern",
            "urltemplate",
            "matchedpath",
            "matchedroute",
            "pathtemplate",
        ],
    ),
    (
        Field::Status,
        &[
            "downstreamstatus",
            "status",
            "statuscode",
            "httpstatus",
            "httpstatuscode",
            "httpresponsestatuscode",
            "responsestatus",
            "responsestatuscode",
            "responsecode",
            "scstatus",
            "httpcode",
            "code",
        ],
    ),
    (
        Field::Duration,
        &[
            "duration",
            "requesttime",
            "requestduration",
            "responsetime",
            "latency",
            "elapsed",
            "elapsedtime",
            "took",
            "timetaken",
            "processingtime",
            "totaltime",
            "reqtime",
            "resptime",
            "rtime",
            "rt",
            "eventduration",
            "httpserverrequestduration",
            "service",
            "time",
        ],
    ),
    (
        Field::Upstream,
        &[
            "upstreamresponsetime",
            "upstreamduration",
            "upstreamtime",
            "originduration",
            "backendtime",
            "upstreamservicetime",
            "xenvoyupstreamservicetime",
            "urt",
        ],
    ),
    (
        Field::Sent,
        &[
            "bodybytessent",
            "bytessent",
            "responsesize",
            "responsebytes",
            "downstreamcontentsize",
            "responsebodysize",
            "httpresponsebodybytes",
            "httpresponsebodysize",
            "responselength",
            "contentlength",
            "rescontentlength",
            "bytes",
            "size",
            "bytesout",
            "scbytes",
            "bodybytes",
            "length",
        ],
    ),
    (
        Field::Received,
        &[
            "requestlength",
            "requestsize",
            "requestbytes",
            "bytesreceived",
            "requestcontentsize",
            "requestbodysize",
            "httprequestbodybytes",
            "httprequestbodysize",
            "bytesin",
            "bytesread",
            "csbytes",
        ],
    ),
    (
        Field::Host,
        &["host", "httphost", "requesthost", "vhost", "authority", "servername", "urldomain", "domain"],
    ),
    (
        Field::Client,
        &[
            "xforwardedfor",
            "httpxforwardedfor",
            "clientip",
            "remoteip",
            "remoteaddr",
            "clientaddress",
            "clienthost",
            "remotehost",
            "remoteaddress",
            "clientaddr",
            "client",
            "ip",
            "sourceip",
            "cip",
            "remote",
            "fwd",
        ],
    ),
    (
        Field::Agent,
        &[
            "useragent",
            "httpuseragent",
            "requestuseragent",
            "useragentoriginal",
            "agent",
            "ua",
            "csuseragent",
        ],
    ),
    (
        Field::Trace,
        &["traceparent", "traceid", "oteltraceid", "ddtraceid", "trace", "logginggoogleapiscomtrace"],
    ),
];

/// Ends of names that tell a unit, longest first.
const UNITS: &[(&str, Unit)] = &[
    ("milliseconds", Unit::Milliseconds),
    ("microseconds", Unit::Microseconds),
    ("nanoseconds", Unit::Nanoseconds),
    ("inmillis", Unit::Milliseconds),
    ("seconds", Unit::Seconds),
    ("millis", Unit::Milliseconds),
    ("micros", Unit::Microseconds),
    ("nanos", Unit::Nanoseconds),
    ("msec", Unit::Milliseconds),
    ("usec", Unit::Microseconds),
    ("nsec", Unit::Nanoseconds),
    ("secs", Unit::Seconds),
    ("sec", Unit::Seconds),
    ("ms", Unit::Milliseconds),
    ("us", Unit::Microseconds),
    ("ns", Unit::Nanoseconds),
    ("s", Unit::Seconds),
];

/// Units of names that tell none, where the name is one program's own: nginx's variables, Elastic's and
/// OpenTelemetry's conventions, Envoy's header, pino's and morgan's `responseTime`.
const KNOWN_UNITS: &[(&str, Unit)] = &[
    ("requesttime", Unit::Seconds),
    ("upstreamresponsetime", Unit::Seconds),
    ("urt", Unit::Seconds),
    ("eventduration", Unit::Nanoseconds),
    ("originduration", Unit::Nanoseconds),
    ("httpserverrequestduration", Unit::Seconds),
    ("xenvoyupstreamservicetime", Unit::Milliseconds),
    ("timetaken", Unit::Milliseconds),
];

/// Objects whose members are looked into; anything deeper in others is left alone.
pub(crate) const CONTAINERS: &[&str] = &[
    "request",
    "response",
    "req",
    "res",
    "http",
    "httprequest",
    "headers",
    "event",
    "url",
    "useragent",
    "data",
    "fields",
    "context",
    "log",
    "message",
    "client",
    "source",
    "attributes",
    "payload",
    "jsonpayload",
    "trace",
    "properties",
    "access",
    "body",
    "fluent",
    "parsed",
    "nginx",
];

/// Lower case, letters and digits only.
pub(crate) fn normalise(key: &str) -> String {
    key.bytes().filter(u8::is_ascii_alphanumeric).map(|b| char::from(b.to_ascii_lowercase())).collect()
}

/// The meaning of a key below normalised `parents`; `None` where it has none that we know.
pub(crate) fn meaning(parents: &[&str], key: &str) -> Option<Meaning> {
    let key = normalise(key);
    let headers = parents.last() == Some(&"headers");
    let full: String = parents.iter().copied().chain([key.as_str()]).collect();
    let found =
        lookup(&full).or_else(|| lookup(&key).map(|m| Meaning { rank: m.rank.saturating_add(20), ..m }));
    let mut found = found.filter(|m| {
        !headers || matches!(m.field, Field::Agent | Field::Host | Field::Trace) || key == "xforwardedfor"
    })?;
    match (parents.last().copied(), found.field) {
        // A response's own length is not the request's, and the other way round.
        (Some("request" | "req"), Field::Sent) => found.field = Field::Received,
        (Some("request" | "req" | "source" | "client"), Field::Duration | Field::Time) => return None,
        (Some("trace"), Field::Trace) | (None, _) => {}
        (Some("client" | "source"), Field::Host) => return None,
        _ => {}
    }
    // Members named `id` of an object `trace` only.
    Some(found)
}

fn lookup(name: &str) -> Option<Meaning> {
    let exact = |name: &str| {
        NAMES.iter().find_map(|(field, names)| {
            let rank = names.iter().position(|known| *known == name)?;
            Some(Meaning { field: *field, rank: u8::try_from(rank).ok()?, unit: None })
        })
    };
    if let Some(mut found) = exact(name) {
        found.unit = KNOWN_UNITS.iter().find(|(known, _)| *known == name).map(|known| known.1);
        return Some(found);
    }
    let (base, unit) = UNITS.iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, *unit)))?;
    let durations = NAMES.iter().filter(|(field, _)| matches!(field, Field::Duration | Field::Upstream));
    for (field, names) in durations {
        if let Some(rank) = names.iter().position(|known| *known == base) {
            return Some(Meaning { field: *field, rank: u8::try_from(rank).ok()?, unit: Some(unit) });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_many_names() {
        let read = |parents: &[&str], key: &str| meaning(parents, key).map(|m| (m.field, m.unit));
        for (key, field, unit) in [
            ("duration_ms", Field::Duration, Some(Unit::Milliseconds)),
            ("responseTime", Field::Duration, None),
            ("request_time", Field::Duration, Some(Unit::Seconds)),
            ("latency_us", Field::Duration, Some(Unit::Microseconds)),
            ("elapsedMilliseconds", Field::Duration, Some(Unit::Milliseconds)),
            ("duration_seconds", Field::Duration, Some(Unit::Seconds)),
            ("time_ms", Field::Duration, Some(Unit::Milliseconds)),
            ("time", Field::Time, None),
            ("OriginDuration", Field::Upstream, Some(Unit::Nanoseconds)),
            ("DownstreamStatus", Field::Status, None),
            ("trace_id", Field::Trace, None),
            ("http.route", Field::Route, None),
        ] {
            assert_eq!(read(&[], key), Some((field, unit)), "{key}");
        }
        assert_eq!(read(&["request"], "uri"), Some((Field::Target, None)));
        assert_eq!(read(&["request", "headers"], "User-Agent"), Some((Field::Agent, None)));
        assert_eq!(read(&["request", "headers"], "Content-Length"), None);
        assert_eq!(read(&["httprequest"], "latency"), Some((Field::Duration, None)));
        for unknown in ["level", "msg", "latency_human", "ms", "durations_p", ""] {
            assert_eq!(read(&[], unknown), None, "{unknown}");
        }
    }
}
