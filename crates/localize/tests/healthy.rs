//! Services that are well: whatever they are built with, nothing loud is said about them, and of guesses one at most.

use localize::{Options, localize};
use model::{Recording, Severity, fixture};

const SERVICES: &[(&str, &str)] = &[
    (
        "a small service that is quick",
        r#"
        repeat 200
        api server "GET /items/{id}" 0..7
          api db "SELECT * FROM items WHERE id = $1" 1..3 db.query.parameter.0={t}
        "#,
    ),
    (
        "a look into a cache that hits, and a few that miss",
        r#"
        repeat 190
        api server "GET /products/{id}" 0..4
          api redis "GET product:{t}" 1..2

        repeat 10
        api server "GET /products/{id}" 0..12
          api redis "GET product:{t}" 1..2
          api db "SELECT * FROM products WHERE id = $1" 2..8 db.query.parameter.0={t}
          api redis "SET product:{t}" 9..10
        "#,
    ),
    (
        "a write in a short transaction, and a message after it",
        r#"
        repeat 200
        api server "POST /orders" 0..25
          api client "pool.acquire" 1..2
          api db "BEGIN" 2..3
          api db "INSERT INTO orders VALUES ($1, $2)" 3..6
          api db "INSERT INTO order_items SELECT * FROM unnest($1)" 6..10
          api db "COMMIT" 10..14
          api producer "orders publish" 15..17 messaging.system=kafka
            mail consumer "orders process" 30..60 messaging.system=kafka
        "#,
    ),
    (
        "calls that run side by side",
        r#"
        repeat 200
        web server "GET /home" 0..40
          web http "GET http://users/me" 2..20 url.full=http://users/me/{t}
            users server "GET /me" 3..19
              users db "SELECT * FROM users WHERE id = $1" 4..17 db.query.parameter.0={t}
          web http "GET http://orders/recent" 2..34 url.full=http://orders/recent/{t}
            orders server "GET /recent" 3..33
              orders db "SELECT * FROM orders WHERE user_id = $1 LIMIT 10" 4..30 db.query.parameter.0={t}
        "#,
    ),
    (
        "one failed call in a hundred, answered without it",
        r#"
        repeat 99
        api server "GET /quote" 0..30
          api http "GET http://rates/now" 2..20 url.full=http://rates/now/{t}
            rates server "GET /now" 3..19
              rates db "SELECT * FROM rates WHERE day = $1" 4..18 db.query.parameter.0={t}

        api server "GET /quote" 0..30
          api http "GET http://rates/now" 2..20 status=error http.response.status_code=503
        "#,
    ),
];

#[test]
fn nothing_loud_is_said_about_a_service_that_is_well() {
    for (what, drawing) in SERVICES {
        let recording =
            Recording { spans: fixture::spans(drawing).expect("a drawing"), ..Recording::default() };
        let found = localize(&recording, &Options::default()).findings;
        let loud: Vec<String> = found
            .iter()
            .filter(|f| f.severity > Severity::Info)
            .map(|f| format!("{} {}: {}", f.rule, f.endpoint, f.title))
            .collect();
        assert!(loud.is_empty(), "{what}: {loud:?}");
        for endpoint in found.iter().map(|f| &f.endpoint) {
            let large = found.iter().filter(|f| {
                f.endpoint == *endpoint && f.prediction.as_ref().is_some_and(|p| p.gain_share() >= 0.10)
            });
            assert!(large.count() <= 1, "{what}: {found:?}");
        }
    }
}

#[test]
fn an_empty_recording_and_one_span_are_well_too() {
    for drawing in ["", "api server \"GET /a\" 0..3"] {
        let recording =
            Recording { spans: fixture::spans(drawing).expect("a drawing"), ..Recording::default() };
        assert!(localize(&recording, &Options::default()).findings.is_empty());
    }
}
