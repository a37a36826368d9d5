//! Units as spans: a root of kind server, named by what was done, and below it what the driver would have told had it
//! been instrumented. A statement that names its caller's trace goes there instead.

use crate::ledger::Client;
use crate::units::{Done, Unit, What};
use model::{Attribute, ResourceId, SpanFields, SpanKind, SpanStatus, SpanTable, Value};

/// What is written of the place of the server: its host and port.
type Server<'a> = Option<(&'a str, Option<u16>)>;

/// Writes a unit down as one trace. `id` gives random numbers that are not 0.
pub(crate) fn unit(
    table: &mut SpanTable,
    client: &Client,
    server: Server<'_>,
    unit: &Unit,
    id: &mut dyn FnMut() -> u64,
) {
    let (Some(first), Some(last)) = (unit.spans.first(), unit.spans.last()) else { return };
    // A connection that is made for later, as pools do, is no piece of work.
    if unit.spans.iter().all(|done| done.what == What::Connect && done.error.is_none()) {
        return;
    }
    let (trace, root) = (u128::from(id()) << 64 | u128::from(id()), id());
    let resource = resource(table, client);
    let fields = SpanFields {
        trace_id: trace,
        span_id: root,
        start_ns: first.start_ns,
        duration_ns: last.end_ns.saturating_sub(first.start_ns).cast_signed(),
        kind: SpanKind::Server,
        resource,
        ..SpanFields::default()
    };
    if unit.spans.iter().any(|done| done.joined.is_none()) {
        let kind = if unit.transaction { "transaction" } else { "burst" };
        let name = table.strings.intern(&format!("{kind}: {}", called(unit)));
        let mut attributes = vec![
            attribute(table, "trimtab.unit", Value::Text(kind)),
            attribute(table, "trimtab.connection", Value::Int(client.connection.cast_signed())),
        ];
        if client.server_pid > 0 {
            let pid = Value::Int(i64::from(client.server_pid));
            attributes.push(attribute(table, "db.postgresql.backend.pid", pid));
        }
        table.push(SpanFields { name, ..fields }, &attributes);
    }
    for done in &unit.spans {
        let (trace_id, parent_id) = done.joined.unwrap_or((trace, root));
        let fields = SpanFields { trace_id, span_id: id(), parent_id, ..fields };
        write_done(table, client, server, fields, done);
    }
}

/// What a unit is called after: its first statement on a table, else its first.
fn called(unit: &Unit) -> &str {
    let mut shapes = unit.spans.iter().filter_map(|done| match &done.what {
        What::Statement { shape, .. } | What::Prepare { shape } => Some(shape),
        _ => None,
    });
    let first = shapes.clone().next();
    shapes.find(|shape| shape.of_table).or(first).map_or("no statement", |shape| shape.title.as_str())
}

fn resource(table: &mut SpanTable, client: &Client) -> ResourceId {
    let name = if client.application.is_empty() { "client" } else { &client.application };
    let service = attribute(table, "service.name", Value::Text(name));
    table.add_resource(&[service])
}

fn attribute(table: &mut SpanTable, key: &str, value: Value<'_>) -> Attribute {
    Attribute { key: table.strings.intern(key), value: table.pack(value) }
}

fn write_done(table: &mut SpanTable, client: &Client, server: Server<'_>, fields: SpanFields, done: &Done) {
    let mut attributes = Vec::with_capacity(14);
    let mut put = |table: &mut SpanTable, key: &str, value: Value<'_>| {
        attributes.push(attribute(table, key, value));
    };
    put(table, "db.system.name", Value::Text("postgresql"));
    for (key, text) in [("db.namespace", &client.database), ("db.user", &client.user)] {
        if !text.is_empty() {
            put(table, key, Value::Text(text));
        }
    }
    if let Some((host, port)) = server {
        put(table, "server.address", Value::Text(host));
        if let Some(port) = port {
            put(table, "server.port", Value::Int(i64::from(port)));
        }
    }
    put(table, "trimtab.connection", Value::Int(client.connection.cast_signed()));
    let name = match &done.what {
        What::Connect => "connect".to_owned(),
        What::Prepare { shape } => {
            put(table, "db.operation.name", Value::Text("PREPARE"));
            let name = format!("PREPARE {}", shape.name);
            put(table, "db.query.summary", Value::Text(&name));
            name
        }
        What::Call => {
            put(table, "db.operation.name", Value::Text("CALL"));
            "function call".to_owned()
        }
        What::Statement { shape, params, rows, returns, commands, .. } => {
            put(table, "db.query.text", Value::Text(&shape.text));
            put(table, "db.operation.name", Value::Text(&shape.verb));
            put(table, "db.query.parameter.hash", Value::Text(&format!("{params:016x}")));
            let key = if *returns { "db.response.returned_rows" } else { "db.response.affected_rows" };
            put(table, key, Value::Int(i64::try_from(*rows).unwrap_or(i64::MAX)));
            put(table, "db.postgresql.transaction", Value::Text(done.state.word()));
            if *commands > 1 {
                put(table, "db.operation.batch.size", Value::Int(i64::from(*commands)));
            }
            shape.name.clone()
        }
    };
    if done.shared > 1 {
        put(table, "trimtab.time_shared_by", Value::Int(i64::from(done.shared)));
    }
    if let Some(error) = &done.error {
        put(table, "error.type", Value::Text(error));
        put(table, "db.response.status_code", Value::Text(error));
    }
    let fields = SpanFields {
        start_ns: done.start_ns,
        duration_ns: done.end_ns.saturating_sub(done.start_ns).cast_signed(),
        name: table.strings.intern(&name),
        kind: SpanKind::Client,
        status: if done.error.is_some() { SpanStatus::Error } else { SpanStatus::Unset },
        ..fields
    };
    table.push(fields, &attributes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::tests::statement;

    fn written(spans: Vec<Done>) -> SpanTable {
        let mut table = SpanTable::default();
        let client = Client { connection: 7, application: "web".into(), ..Client::default() };
        let mut ids = 0;
        let mut id = || {
            ids += 1;
            ids
        };
        unit(&mut table, &client, Some(("db", Some(5432))), &Unit { transaction: true, spans }, &mut id);
        table
    }

    #[test]
    fn a_unit_is_one_trace_of_the_application() {
        let table = written(vec![statement("BEGIN"), statement("SELECT a")]);
        let names: Vec<_> = table.rows().map(|row| (row.service(), row.name())).collect();
        assert_eq!(names, [("web", "transaction: BEGIN"), ("web", "BEGIN"), ("web", "SELECT a")]);
        assert_eq!(table.parent_ids, [0, 3, 3]);
        assert!(table.trace_ids.iter().all(|trace| *trace == table.trace_ids[0]));
        let row = table.row(2);
        assert_eq!(row.attribute("db.query.text"), Some(Value::Text("SELECT a")));
        assert_eq!(row.attribute("server.port"), Some(Value::Int(5432)));
        assert_eq!(row.attribute("trimtab.connection"), Some(Value::Int(7)));
    }

    #[test]
    fn statements_that_name_their_caller_go_to_its_trace() {
        let joined = Done { joined: Some((42, 43)), ..statement("SELECT a") };
        let table = written(vec![joined.clone(), statement("SELECT b")]);
        assert_eq!((table.len(), table.trace_ids[1], table.parent_ids[1]), (3, 42, 43));
        let table = written(vec![joined]);
        assert_eq!((table.len(), table.trace_ids[0]), (1, 42), "no root for a unit without spans of its own");
    }
}
