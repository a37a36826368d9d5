//! HAProxy's HTTP log (`option httplog`), behind whatever syslog puts in front.

use crate::fields::{Field, Fields, Scalar, Unit};

/// Fills `fields` from a line; `false` where it is none.
pub(crate) fn read<'a>(line: &'a str, fields: &mut Fields<'a>) -> bool {
    read_parts(line, fields).is_some()
}

/// `10.0.1.2:33317 [06/Feb/2009:12:14:14.655] front back/srv1 10/0/30/69/109 200 2750 - - ---- ... "GET / HTTP/1.1"`
fn read_parts<'a>(line: &'a str, fields: &mut Fields<'a>) -> Option<()> {
    let open = line.match_indices(" [").find(|(at, _)| {
        let time = &line.as_bytes()[at + 2..];
        time.get(2) == Some(&b'/') && time.get(6) == Some(&b'/')
    })?;
    let client = line[..open.0].rsplit(' ').next()?;
    let client = client.rsplit_once(':').map_or(client, |(address, _)| address);
    let (time, rest) = line[open.0 + 2..].split_once("] ")?;
    let mut words = rest.split(' ');
    let (_front, _back) = (words.next()?, words.next()?);
    let timers = words.next()?;
    let (status, bytes) = (words.next()?, words.next()?);
    // TR/Tw/Tc/Tr/Ta; before 1.7 Tq/Tw/Tc/Tr/Tt. A `+` marks a log line written before the end.
    let timers: Vec<&str> = timers.split('/').collect();
    let [_, _, _, response, all] = timers.as_slice() else { return None };
    let from = rest.find('"')? + 1;
    let to = rest.rfind('"')?;
    let request = rest.get(from..to)?;
    let ms = Some(Unit::Milliseconds);
    fields.set(Field::Time, 0, None, Scalar::text(time));
    fields.set(Field::Client, 0, None, Scalar::text(client));
    fields.set(Field::Duration, 0, ms, Scalar::text(all.trim_start_matches('+')));
    fields.set(Field::Upstream, 0, ms, Scalar::text(response));
    fields.set(Field::Status, 0, None, Scalar::text(status));
    fields.set(Field::Sent, 0, None, Scalar::text(bytes.trim_start_matches('+')));
    fields.set(Field::RequestLine, 0, None, Scalar::text(request));
    Some(())
}
