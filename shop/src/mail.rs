//! The confirmation mail: what it says, and an SMTP client (RFC 5321) that delivers it over one connection.
//! No TLS, no authentication: the relay is on the same host.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::trace::Trace;

const SEND_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES: u64 = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub recipient: String,
    pub subject: String,
    pub body: String,
}

impl Mail {
    pub(crate) fn order_confirmation(recipient: &str, name: &str, order_id: i64, total_cents: i64) -> Self {
        let (units, cents) = (total_cents / 100, total_cents % 100);
        Self {
            recipient: recipient.to_owned(),
            subject: format!("Your order {order_id}"),
            body: format!("Dear {name},\r\n\r\nthank you for order {order_id} over {units}.{cents:02}.\r\n"),
        }
    }

    /// Headers and body with the end mark; lines that begin with a dot get a second one.
    fn data(&self) -> String {
        let mut data = format!(
            "From: shop@example.com\r\nTo: {}\r\nSubject: {}\r\n\r\n",
            one_line(&self.recipient),
            one_line(&self.subject)
        );
        for line in self.body.lines() {
            if line.starts_with('.') {
                data.push('.');
            }
            data.push_str(line);
            data.push_str("\r\n");
        }
        data.push_str(".\r\n");
        data
    }
}

/// Without what could start another header or command.
fn one_line(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() && !matches!(character, '<' | '>')).collect()
}

pub(crate) struct Mailer {
    address: SocketAddr,
}

impl Mailer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// # Errors
    /// When the relay cannot be reached, refuses, or takes too long.
    pub(crate) async fn send(&self, trace: &Trace, mail: &Mail) -> anyhow::Result<()> {
        let attributes = vec![
            KeyValue::new("network.protocol.name", "smtp"),
            KeyValue::new("server.address", self.address.ip().to_string()),
            KeyValue::new("server.port", i64::from(self.address.port())),
            KeyValue::new("service.peer.name", "smtp"),
        ];
        let span = trace.span("smtp.send", SpanKind::Client, attributes);
        let sent = match tokio::time::timeout(SEND_TIMEOUT, self.converse(mail)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the mail relay did not answer within {SEND_TIMEOUT:?}")),
        };
        if let Err(error) = &sent {
            span.fail("smtp", &format!("{error:#}"));
        }
        sent
    }

    async fn converse(&self, mail: &Mail) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.address).await.context("cannot reach the mail relay")?;
        stream.set_nodelay(true)?;
        let mut dialogue = Dialogue(BufReader::new(stream));
        dialogue.expect("220").await?;
        dialogue.say("EHLO shop\r\n", "250").await?;
        dialogue.say("MAIL FROM:<shop@example.com>\r\n", "250").await?;
        dialogue.say(&format!("RCPT TO:<{}>\r\n", one_line(&mail.recipient)), "250").await?;
        dialogue.say("DATA\r\n", "354").await?;
        dialogue.say(&mail.data(), "250").await?;
        dialogue.say("QUIT\r\n", "221").await
    }
}

struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    async fn say(&mut self, text: &str, expected: &str) -> anyhow::Result<()> {
        self.0.get_mut().write_all(text.as_bytes()).await?;
        self.expect(expected).await
    }

    /// Reads one reply, of which only the last line has a space after its code.
    async fn expect(&mut self, expected: &str) -> anyhow::Result<()> {
        let mut answer = (&mut self.0).take(ANSWER_BYTES);
        loop {
            let mut line = String::new();
            if answer.read_line(&mut line).await? == 0 {
                bail!("the mail relay hung up");
            }
            ensure!(line.starts_with(expected), "the mail relay said `{}`", line.trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_cannot_smuggle_headers_or_end_early() {
        let mail = Mail {
            recipient: "a@b\r\nBcc: c@d".to_owned(),
            subject: "x".to_owned(),
            body: ".\nQUIT".to_owned(),
        };
        assert_eq!(
            mail.data(),
            "From: shop@example.com\r\nTo: a@bBcc: c@d\r\nSubject: x\r\n\r\n..\r\nQUIT\r\n.\r\n"
        );
    }
}
